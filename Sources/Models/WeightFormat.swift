public import Tensors

/// How a resident base holds its projections, whatever element type its checkpoint has. The raw value is the name used
/// by commands and over HTTP.
public enum WeightFormat: String, Sendable, CaseIterable, Codable {
  case f32
  /// Weights and the inputs of their products rounded to nearest, ties to even; sums stay float32.
  case bf16
  /// 8.5 bits a weight, for serving.
  case int8
  /// 4.5 bits a weight, for serving.
  case int4

  /// What the packed matrices of this format hold.
  public var element: PackedElement {
    switch self {
    case .f32: .float32
    case .bf16: .bfloat16Pairs
    case .int8: .int8
    case .int4: .int4
    }
  }

  init(_ element: PackedElement) {
    switch element {
    case .float32: self = .f32
    case .bfloat16, .bfloat16Pairs: self = .bf16
    case .int8: self = .int8
    case .int4: self = .int4
    }
  }
}
