import Foundation

/// Horizontal bars with their spread as an SVG: enough to see a result.
struct BarPlot {
  struct Bar {
    let label: String
    let value: Double
    let low: Double
    let high: Double
  }

  let title: String
  let unit: String
  let bars: [Bar]
  /// A line to hold the bars against.
  var mark: Double?
  /// Where the axis starts.
  var origin = 0.0

  private static let width = 720.0
  private static let labelWidth = 230.0
  private static let row = 26.0

  var svg: String {
    let top = max((bars.map(\.high) + [mark ?? 0]).max() ?? 1, origin + 1e-9)
    let scale = (Self.width - Self.labelWidth - 90) / (top - origin)
    func x(_ value: Double) -> String { (Self.labelWidth + max(value - origin, 0) * scale).text(1) }
    let height = 50 + Self.row * Double(bars.count)
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(Self.width))\" height=\"\(Int(height))\" "
        + "font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"10\" y=\"22\" font-size=\"14\">\(title) (\(unit))</text>",
    ]
    for (index, bar) in bars.enumerated() {
      let y = 38 + Self.row * Double(index)
      let middle = (y + 8).text(1)
      let length = (max(bar.value - origin, 0) * scale).text(1)
      lines += [
        "<text x=\"10\" y=\"\((y + 12).text(1))\">\(bar.label)</text>",
        "<rect x=\"\(x(origin))\" y=\"\(y.text(1))\" width=\"\(length)\" height=\"16\" fill=\"#4a78a8\"/>",
        "<line x1=\"\(x(bar.low))\" x2=\"\(x(bar.high))\" y1=\"\(middle)\" y2=\"\(middle)\" stroke=\"black\"/>",
        "<text x=\"\((Self.width - 80).text(1))\" y=\"\((y + 12).text(1))\">\(bar.value.text(2))</text>",
      ]
    }
    if let mark {
      lines.append(
        "<line x1=\"\(x(mark))\" x2=\"\(x(mark))\" y1=\"30\" y2=\"\((height - 8).text(1))\" stroke=\"#b03030\" "
          + "stroke-dasharray=\"4 3\"/>")
    }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }
}
