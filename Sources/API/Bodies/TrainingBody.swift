internal import Adapters
internal import Digests
internal import HTTPWire
internal import Models
internal import Serving
internal import Training

/// `POST /train`.
enum TrainingBody {
  private static let settingNames = [
    "rank", "alpha", "sites", "epochs", "batch_size", "learning_rate", "head_learning_rate",
    "basis_learning_rate", "schedule", "warmup", "weight_decay", "clip_norm", "dropout", "max_length",
    "validation", "seed", "pooling", "head_dense", "temperature", "recompute",
  ]
  private static let names =
    ["task", "kind", "method", "data", "subspace", "activate", "from"] + settingNames

  /// The data set that the body names, to be looked up before the rest is read.
  static func dataset(_ body: JSONValue) -> String? {
    let id = body["data"]?["dataset"]?.string
    return id.flatMap { (1...Limits.tokenBytes).contains($0.utf8.count) ? $0 : nil }
  }

  /// - Parameters:
  ///   - base: what the task is trained on: its sites and limits decide the defaults.
  ///   - datasetKind: of the data set that the body names.
  static func request(
    _ value: JSONValue, on base: BaseSummary, datasetKind: TaskKind?, idempotencyKey: String?, digest: Digest
  ) throws(Problem) -> TrainingRequest {
    let errors = FieldCollector()
    guard let body = ObjectDecoder(value, pointer: "", allowed: names, errors: errors) else {
      throw Problem(.validation(errors.errors))
    }
    let task = body.name("task", isRequired: true)
    if task == Names.base { errors.add("/task", "is reserved for the bare base") }
    let given = body.choice("kind", TaskKind.self)
    let kind = given ?? datasetKind ?? ExampleDecoder.kind(of: body.value("data")?["examples"]?.array?.first)
    if let given, let datasetKind, given != datasetKind {
      errors.add("/kind", "is not the data set's kind", allowed: datasetKind.rawValue)
    }
    let data = data(body, kind: kind)
    let method = method(body)
    var settings = TrainingSettings.defaults(kind: kind, method: method, on: base.family)
    settings.maxLength = min(settings.maxLength, base.contextTokens)
    read(&settings, body, base.family)
    let subspace = body.text("subspace", isRequired: false, limitBytes: Limits.tokenBytes)
    let activate = body.choice("activate", Activation.self)
    let from = from(body)
    try errors.check()
    try validate(settings, base.family)
    guard let task, let data else { throw Problem(.validation([])) }
    return TrainingRequest(
      task: task, data: data, settings: settings, subspace: subspace, activate: activate ?? .always,
      from: from, idempotencyKey: idempotencyKey, requestDigest: digest.description)
  }

  private static func data(_ body: ObjectDecoder, kind: TaskKind) -> TrainingData? {
    guard let value = body.required("data"),
      let data = ObjectDecoder(
        value, pointer: "/data", allowed: ["examples", "dataset"], errors: body.errors)
    else { return nil }
    guard data.has("examples") != data.has("dataset") else {
      body.errors.add("/data", "must hold either examples or dataset")
      return nil
    }
    if data.has("dataset") {
      return data.text("dataset", limitBytes: Limits.tokenBytes).map { .dataset(id: $0) }
    }
    guard let rows = data.array("examples", count: Limits.examples) else { return nil }
    let decoder = ExampleDecoder(kind: kind)
    return .examples(
      rows.enumerated().compactMap {
        decoder.example($1, pointer: "/data/examples/\($0)", body.errors)
      })
  }

  private static func method(_ body: ObjectDecoder) -> String {
    guard let name = body.string("method") else { return CoRA.name }
    if TrainingMethods.named(name) == nil {
      body.errors.add(
        "/method", "is not known", allowed: TrainingMethods.all.map { $0.name }.joined(separator: ", "))
    }
    return name
  }

  /// Types are checked here, ranges by `TrainingSettings.validate`.
  private static func read(
    _ settings: inout TrainingSettings, _ body: ObjectDecoder, _ family: ModelFamily
  ) {
    func whole(_ name: String, _ path: WritableKeyPath<TrainingSettings, Int>) {
      if let value = body.integer(name, in: Int.min...Int.max) { settings[keyPath: path] = value }
    }
    func float(_ name: String, _ path: WritableKeyPath<TrainingSettings, Float>) {
      if let value = body.float(name) { settings[keyPath: path] = value }
    }
    whole("rank", \.rank)
    float("alpha", \.alpha)
    whole("epochs", \.epochs)
    whole("batch_size", \.batchSize)
    float("learning_rate", \.learningRate)
    float("head_learning_rate", \.headLearningRate)
    if let rate = body.float("basis_learning_rate") { settings.basisLearningRate = rate }
    float("warmup", \.warmup)
    float("weight_decay", \.weightDecay)
    float("clip_norm", \.clipNorm)
    float("dropout", \.dropout)
    whole("max_length", \.maxLength)
    float("validation", \.validation)
    float("temperature", \.temperature)
    settings.schedule = body.choice("schedule", LearningRateSchedule.self) ?? settings.schedule
    settings.pooling = body.choice("pooling", Pooling.self) ?? settings.pooling
    settings.headDense = body.choice("head_dense", HeadDense.self) ?? settings.headDense
    if let value = body.value("seed") {
      if let seed = value.number?.unsigned {
        settings.seed = seed
      } else {
        body.errors.add("/seed", "must be a whole number", allowed: "0 through \(UInt64.max)")
      }
    }
    if let recompute = body.bool("recompute") { settings.recompute = recompute }
    if let sites = sites(body, family) { settings.sites = sites }
  }

  private static func sites(_ body: ObjectDecoder, _ family: ModelFamily) -> [SiteKind]? {
    guard let names = body.array("sites", count: 0...ModelFamily.everySiteName.count) else { return nil }
    let allowed = family.siteNames.joined(separator: ", ")
    var sites: [SiteKind] = []
    for (index, name) in names.enumerated() {
      guard case .string(let text) = name, let named = family.siteKinds(named: text) else {
        body.errors.add("/sites/\(index)", "is not a site of the base", allowed: allowed)
        continue
      }
      if named.contains(where: sites.contains) { body.errors.add("/sites/\(index)", "is given twice") }
      sites += named
    }
    return sites
  }

  private static func from(_ body: ObjectDecoder) -> (task: String, version: Int)? {
    guard let text = body.string("from") else { return nil }
    let version = Names.version(text)
    if version == nil { body.errors.add("/from", "is not a version", allowed: "task@3") }
    return version
  }

  private static func validate(_ settings: TrainingSettings, _ family: ModelFamily) throws(Problem) {
    do throws(TrainingError) {
      try settings.validate(on: family)
    } catch {
      let refused =
        switch error {
        case .setting(let name, let reason): FieldError("/\(name)", reason)
        case .unknownMethod(let name): FieldError("/method", "\"\(name)\" is not known")
        default: FieldError("", "is refused by the method")
        }
      throw Problem(.validation([refused]))
    }
  }

  /// Idempotency-Key: visible ASCII.
  static func idempotencyKey(_ head: HTTPRequestHead) throws(Problem) -> String? {
    guard head.fields.contains("idempotency-key") else { return nil }
    if let key = head.fields.single("idempotency-key"), !key.isEmpty, key.utf8.count <= Limits.tokenBytes,
      key.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    {
      return key
    }
    throw Problem(
      .validation([
        FieldError(
          "Idempotency-Key", "is not a key",
          allowed: "1 through \(Limits.tokenBytes) visible ASCII characters")
      ]))
  }
}
