public import Tensors

/// CoRA (arXiv 2409.02119), initialising: B starts at the common subspace, A at zero, both train. The first step moves
/// A alone, because B's gradient is s·G·Aᵀ. Decay never reaches B.
public enum CoRAInit: TrainingMethod {
  public static let name = "cora-init"
  public static let needsSubspace = true
  public static let trainsBasis = true
  public static let decaysBasis = false
  public static let learningRates = MethodRates(coefficients: 2e-3, head: 5e-3)

  public static func coefficients(_ site: MethodSite, random: inout RandomSource) -> Matrix {
    Matrix(zeros: site.rank, site.inputs)
  }

  public static func basis(_ site: MethodSite, random: inout RandomSource) -> Matrix? { site.shared }
}
