internal import Adapters
internal import Digests
internal import Models
internal import Serving
internal import Training

/// `POST /v1/fine_tuning/jobs`: the same job as `POST /train` makes, with method `cora`.
struct FineTuningBody: Sendable {
  let model: String
  let file: String
  /// The task; without it that of the model, or one named for the file.
  let suffix: String?
  let seed: UInt64?
  let epochs: Int?
  let batchSize: Int?
  /// On the default rates of the kind and the method.
  let rateMultiplier: Float?

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    guard
      let body = ObjectDecoder(
        openAI: value, pointer: "",
        taken: ["model", "training_file", "suffix", "seed", "hyperparameters", "method"],
        neutral: ["metadata"],
        unsupported: [
          UnsupportedField("validation_file"),
          UnsupportedField("integrations", neutral: "an empty list") { $0.array?.isEmpty == true },
        ], errors: errors)
    else { throw Problem(.validation(errors.errors)) }
    model = body.model() ?? ""
    file = body.text("training_file", limitBytes: Limits.tokenBytes) ?? ""
    suffix = body.name("suffix", isRequired: false)
    if suffix == Names.base { errors.add("/suffix", "is reserved for the bare base") }
    seed = body.integer("seed", in: 0...Int(Int32.max)).map { UInt64($0) }
    var given = body
    if let method = Self.method(body), method.has("hyperparameters") {
      if body.has("hyperparameters") {
        errors.add("/hyperparameters", "is given twice", allowed: "hyperparameters or method")
      }
      given = method
    }
    var epochs: Int?
    var batchSize: Int?
    var rateMultiplier: Float?
    if let value = given.value("hyperparameters"),
      let hyperparameters = ObjectDecoder(
        openAI: value, pointer: given.pointer("hyperparameters"),
        taken: ["n_epochs", "batch_size", "learning_rate_multiplier"], errors: errors)
    {
      if !hyperparameters.isAutomatic("n_epochs") {
        epochs = hyperparameters.integer("n_epochs", in: Limits.epochs)
      }
      if !hyperparameters.isAutomatic("batch_size") {
        batchSize = hyperparameters.integer("batch_size", in: Limits.batchSize)
      }
      if !hyperparameters.isAutomatic("learning_rate_multiplier") {
        rateMultiplier = hyperparameters.float("learning_rate_multiplier", in: Limits.rateMultiplier)
      }
    }
    self.epochs = epochs
    self.batchSize = batchSize
    self.rateMultiplier = rateMultiplier
    try errors.check()
  }

  /// What stands under `method`'s one supported type.
  private static func method(_ body: ObjectDecoder) -> ObjectDecoder? {
    guard let value = body.value("method"),
      let method = ObjectDecoder(
        openAI: value, pointer: "/method", taken: ["type", "supervised"],
        unsupported: [UnsupportedField("dpo"), UnsupportedField("reinforcement")], errors: body.errors)
    else { return nil }
    if method.required("type") != nil, let type = method.string("type"), type != "supervised" {
      body.errors.add("/method/type", "is not supported", allowed: "supervised")
    }
    guard let supervised = method.value("supervised") else { return nil }
    return ObjectDecoder(
      openAI: supervised, pointer: "/method/supervised", taken: ["hyperparameters"], errors: body.errors)
  }

  /// - Parameters:
  ///   - base: the resident one.
  ///   - start: the version that the model's name stands for, nil for the base.
  func request(
    _ dataset: DatasetSummary, on base: BaseSummary, from start: (task: String, version: VersionSummary)?,
    idempotencyKey: String?, digest: Digest
  ) throws(Problem) -> TrainingRequest {
    var settings = TrainingSettings.defaults(
      kind: dataset.kind, method: start?.version.method ?? CoRA.name, on: base.family)
    settings.maxLength = min(settings.maxLength, base.contextTokens)
    if let version = start?.version {
      settings.rank = version.rank
      settings.alpha = Float(version.alpha)
    }
    if let epochs { settings.epochs = epochs }
    if let batchSize { settings.batchSize = batchSize }
    if let seed { settings.seed = seed }
    if let rateMultiplier {
      settings.learningRate *= rateMultiplier
      settings.headLearningRate *= rateMultiplier
    }
    do throws(TrainingError) {
      try settings.validate(on: base.family)
    } catch {
      guard case .setting(let name, let reason) = error else { throw Problem(.internal, cause: "\(error)") }
      throw Problem(.validation([FieldError("/" + name, reason)])).renamed
    }
    return TrainingRequest(
      task: suffix ?? start?.task ?? Self.task(dataset.name), data: .dataset(id: dataset.id),
      settings: settings,
      subspace: nil, activate: .always, from: start.map { ($0.task, $0.version.version) },
      idempotencyKey: idempotencyKey, requestDigest: digest.description)
  }

  /// `tickets` of `tickets.jsonl`.
  private static func task(_ fileName: String) -> String {
    guard let dot = fileName.lastIndex(of: "."), dot > fileName.startIndex else { return fileName }
    let stem = String(fileName[..<dot])
    return stem == Names.base ? "base-tuned" : stem
  }

}

extension Problem {
  /// The same of `POST /train`'s fields, by the names of this body's.
  var renamed: Problem {
    var problem = self
    problem.members = members.map { name, member in
      guard case .errors(let errors) = member else { return (name, member) }
      return (
        name,
        .errors(errors.map { FieldError(Self.pointer($0.pointer), $0.detail, allowed: $0.allowed) })
      )
    }
    if case .errors(let errors)? = problem.members.first?.1, let first = errors.first {
      problem.detail = "\(first.pointer) \(first.detail)."
    }
    return problem
  }

  private static func pointer(_ pointer: String) -> String {
    switch pointer {
    case "/task": "/suffix"
    case "/from": "/model"
    case "/data", "/kind": "/training_file"
    case "/batch_size": "/hyperparameters/batch_size"
    default: pointer
    }
  }
}

extension ObjectDecoder {
  /// Whether the member is `"auto"`: the default.
  fileprivate func isAutomatic(_ name: String) -> Bool { value(name)?.string == "auto" }
}
