public import Tensors

/// CoRA (arXiv 2409.02119), freezing: B is the common subspace and never moves; A starts at zero, so the first step
/// starts at the base itself. METHODS 1.3.
public enum CoRA: TrainingMethod {
  public static let name = "cora"
  public static let needsSubspace = true
  public static let trainsBasis = false
  public static let decaysBasis = false
  public static let learningRates = MethodRates(coefficients: 4e-3, head: 5e-3)

  public static func coefficients(_ site: MethodSite, random: inout RandomSource) -> Matrix {
    Matrix(zeros: site.rank, site.inputs)
  }

  public static func basis(_ site: MethodSite, random: inout RandomSource) -> Matrix? { nil }
}
