public import Tensors

/// How a resident base holds its projections, whatever element type its checkpoint has. The raw value is the name used
/// by commands and over HTTP.
public enum WeightFormat: String, Sendable, CaseIterable, Codable {
  case f32
  /// Rounded to nearest, ties to even; products stay float32.
  case bf16

  /// What the packed matrices of this format hold.
  public var element: PackedElement {
    switch self {
    case .f32: .float32
    case .bf16: .bfloat16
    }
  }

  init(_ element: PackedElement) {
    switch element {
    case .float32: self = .f32
    case .bfloat16: self = .bf16
    }
  }
}
