internal import Models

/// A model folder whose weights were read and computed with once, without a daemon.
public struct ModelVerification: Sendable {
  public struct Sites: Sendable {
    public let name: String
    public let inputs: Int
    public let outputs: Int
    /// Frobenius norms over the layers.
    public let norms: ClosedRange<Double>
  }

  public let model: ModelInspection
  /// What the pass was computed from.
  public let weights: String
  public let residentBytes: Int
  /// One of each kind.
  public let sites: [Sites]
  /// Shape and mean length of the pass's rows.
  public let hidden: (shape: [Int], norm: Double)
  /// A decoder's scores of the next tokens, likewise.
  public let scores: (shape: [Int], norm: Double)?
  /// Of the hidden states' bits.
  public let outputDigest: String

  /// - Parameter weights: one of `ServingConfiguration.weightFormats`.
  /// - Throws: `.validation` naming the fault: what the daemon would refuse, and weights that are not finite.
  public init(directory: String, weights: String = "f32") throws(ServingError) {
    let format = try WeightFormat(named: weights)
    let folder = try ModelFolder(directory: directory)
    model = ModelInspection(folder)
    self.weights = format.rawValue
    do throws(ModelError) {
      let base = try BaseModel(folder.checkpoint, weights: format)
      let probe = try ModelProbe(folder.checkpoint, base)
      residentBytes = base.residentBytes
      sites = probe.sites.map {
        Sites(
          name: base.family.name(of: $0.kind), inputs: $0.inputs, outputs: $0.outputs, norms: $0.norms)
      }
      hidden = (probe.hiddenShape, probe.hiddenNorm)
      scores = probe.scoreShape.flatMap { shape in probe.scoreNorm.map { (shape, $0) } }
      outputDigest = "\(probe.outputDigest)"
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
  }
}

extension WeightFormat {
  /// - Throws: `.validation` with the names that there are.
  init(named name: String) throws(ServingError) {
    guard let format = WeightFormat(rawValue: name) else {
      throw .validation([
        FieldError(
          "weights", "is \(name)", allowed: ServingConfiguration.weightFormats.joined(separator: ", "))
      ])
    }
    self = format
  }
}
