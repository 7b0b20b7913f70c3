public import Tensors

/// LoRA (arXiv 2106.09685), the yardstick: A uniform in ±1/√dIn (Kaiming with a = √5, as PEFT), B zero, both train.
public enum LoRA: TrainingMethod {
  public static let name = "lora"
  public static let needsSubspace = false
  public static let trainsBasis = true
  public static let decaysBasis = true
  public static let learningRates = MethodRates(coefficients: 4e-3, head: 5e-3)

  public static func coefficients(_ site: MethodSite, random: inout RandomSource) -> Matrix {
    let bound = 1 / Float(site.inputs).squareRoot()
    let values = (0..<site.rank * site.inputs).map { _ in (2 * random.uniform() - 1) * bound }
    return Matrix(rows: site.rank, columns: site.inputs, values: values)
  }

  public static func basis(_ site: MethodSite, random: inout RandomSource) -> Matrix? {
    Matrix(zeros: site.outputs, site.rank)
  }
}
