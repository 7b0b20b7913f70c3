/// A template that makes a prompt of a conversation, in the part of Jinja that chat templates use.
///
/// A pure function of what it is given: it reads no clock, no file and no other template, and ends within its limits
/// whatever the template says.
public struct ChatTemplate: Sendable {
  public struct Limits: Sendable, Equatable {
    /// Parts of the template that are evaluated, and each 64 bytes or items that one of them goes through.
    public var steps: Int
    /// Of the prompt, and of any text or list on the way.
    public var outputBytes: Int

    public init(steps: Int = 2_000_000, outputBytes: Int = 8 << 20) {
      self.steps = steps
      self.outputBytes = outputBytes
    }
  }

  /// Greatest source that is read.
  public static let limitBytes = 1 << 20

  public let source: String
  private let statements: [Template.Statement]

  /// - Throws: `ChatTemplateError.syntax`, `.unknown`, `.tooDeep` or `.tooMuchText`.
  public init(_ source: String) throws(ChatTemplateError) {
    guard source.utf8.count <= Self.limitBytes else {
      throw .tooMuchText(line: 1, limitBytes: Self.limitBytes)
    }
    self.source = source
    statements = try Template.Parser.parse(source)
  }

  /// The prompt.
  ///
  /// - Parameters:
  ///   - context: what the template's names stand for: `messages`, `tools`, `add_generation_prompt`, `bos_token`, …
  ///   - now: what `strftime_now` formats.
  public func render(
    _ context: [(name: String, value: TemplateValue)], now: TemplateDate = TemplateDate(),
    limits: Limits = Limits()
  ) throws(ChatTemplateError) -> String {
    let scope = Template.Scope()
    for (name, value) in context { scope.set(name, Template.Value(value)) }
    var interpreter = Template.Interpreter(limits: limits, now: now)
    return try interpreter.render(statements, in: scope)
  }
}

/// A moment as a calendar has it, for `strftime_now`.
public struct TemplateDate: Sendable, Equatable {
  public var year: Int
  /// 1 to 12
  public var month: Int
  public var day: Int
  public var hour: Int
  public var minute: Int
  public var second: Int

  public init(year: Int = 1970, month: Int = 1, day: Int = 1, hour: Int = 0, minute: Int = 0, second: Int = 0)
  {
    self.year = year
    self.month = min(max(month, 1), 12)
    self.day = day
    self.hour = hour
    self.minute = minute
    self.second = second
  }

  private static let months = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November",
    "December",
  ]
  private static let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

  /// Sunday is 0.                                                     [Sakamoto92]
  private var weekday: Int {
    let shift = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4][month - 1]
    let year = month < 3 ? year - 1 : year
    return ((year + year / 4 - year / 100 + year / 400 + shift + day) % 7 + 7) % 7
  }

  private var dayOfYear: Int {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month - 1]
    return before + day + (isLeap && month > 2 ? 1 : 0)
  }

  /// As C's `strftime` in the C locale; nil for a conversion that is not implemented.
  func formatted(_ format: String) -> String? {
    func padded(_ value: Int, _ width: Int = 2) -> String {
      let text = String(value)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    var result = ""
    var isConversion = false
    var isPlain = false
    for scalar in format.unicodeScalars {
      guard isConversion else {
        isConversion = scalar == "%"
        if !isConversion { result.unicodeScalars.append(scalar) }
        continue
      }
      if scalar == "-", !isPlain {
        isPlain = true
        continue
      }
      func number(_ value: Int, _ width: Int = 2) -> String { isPlain ? String(value) : padded(value, width) }
      switch scalar {
      case "Y": result += padded(year, 4)
      case "y": result += number(year % 100)
      case "m": result += number(month)
      case "d": result += number(day)
      case "e": result += (day < 10 && !isPlain ? " " : "") + String(day)
      case "H": result += number(hour)
      case "I": result += number((hour + 11) % 12 + 1)
      case "M": result += number(minute)
      case "S": result += number(second)
      case "j": result += number(dayOfYear, 3)
      case "p": result += hour < 12 ? "AM" : "PM"
      case "B": result += Self.months[month - 1]
      case "b", "h": result += Self.months[month - 1].prefix(3)
      case "A": result += Self.days[weekday]
      case "a": result += Self.days[weekday].prefix(3)
      case "w": result += String(weekday)
      case "F": result += "\(padded(year, 4))-\(padded(month))-\(padded(day))"
      case "T": result += "\(padded(hour)):\(padded(minute)):\(padded(second))"
      case "%": result += "%"
      default: return nil
      }
      isConversion = false
      isPlain = false
    }
    return isConversion ? nil : result
  }
}
