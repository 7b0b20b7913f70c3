internal import Adapters
internal import HTTPWire
internal import Serving

/// The form of `POST /v1/files`: rows go into the store as they come, and the purpose may stand before or behind them.
struct FileUpload {
  static let purpose = "fine-tune"

  private let node: any ServingNode
  private let principal: Principal
  private let limitBytes: Int
  private var parser: MultipartParser
  private let errors = FieldCollector()
  private var field = ""
  private var purposeText: [UInt8]?
  private var hasFile = false
  private var fileName = ""
  private var first = FirstRow()
  private var ingest: DatasetIngest?
  /// Neither finished nor abandoned by this type, but by its owner.
  private(set) var upload: (any DatasetUpload)?

  init(boundary: String, limitBytes: Int, node: any ServingNode, principal: Principal) {
    parser = MultipartParser(boundary: boundary)
    self.limitBytes = limitBytes
    self.node = node
    self.principal = principal
  }

  /// The whole body; the rows are all in the upload then.
  mutating func run(_ body: HTTPBody) async throws(Problem) {
    if let length = body.declaredLength, length > limitBytes {
      throw Problem(WireError.bodyTooLarge(limitBytes: limitBytes))
    }
    var total = 0
    while let bytes = try await body.piece() {
      total += bytes.count
      if total > limitBytes { throw Problem(WireError.bodyTooLarge(limitBytes: limitBytes)) }
      parser.append(bytes)
      while let event = try next() { try await take(event) }
    }
    do throws(WireError) { try parser.finish() } catch { throw Problem(error) }
    try checkForm()
  }

  private mutating func next() throws(Problem) -> MultipartParser.Event? {
    do throws(WireError) {
      switch try parser.next() {
      case .needMore, .end: return nil
      case let event: return event
      }
    } catch {
      throw Problem(error)
    }
  }

  private mutating func take(_ event: MultipartParser.Event) async throws(Problem) {
    switch event {
    case .part(let part): begin(part)
    case .content(let bytes):
      switch field {
      case "file": try await rows(bytes)
      case "purpose":
        if purposeText?.count ?? 0 <= Limits.formFieldBytes { purposeText?.append(contentsOf: bytes) }
      default: break
      }
    case .endOfPart:
      if field == "file" { try await endRows() }
      field = ""
    case .needMore, .end: break
    }
  }

  private mutating func begin(_ part: MultipartPart) {
    switch part.name {
    case "file" where !hasFile:
      hasFile = true
      fileName = Self.name(part.fileName)
    case "purpose" where purposeText == nil: purposeText = []
    case "file", "purpose":
      errors.add(part.name, "is given twice")
      field = ""
      return
    default: errors.add(String(part.name.prefix(64)), "is not supported", allowed: "file, purpose")
    }
    field = part.name
  }

  private mutating func rows(_ bytes: [UInt8]) async throws(Problem) {
    if ingest == nil {
      try await start(bytes, isLast: false)
    } else if let upload {
      try await ingest?.take(bytes, into: upload)
    }
  }

  private mutating func endRows() async throws(Problem) {
    if ingest == nil { try await start([], isLast: true) }
    guard let upload else { return errors.add("file", "holds no row") }
    try await ingest?.finish(upload)
  }

  /// Begins the upload once a whole row is there.
  private mutating func start(_ bytes: [UInt8], isLast: Bool) async throws(Problem) {
    let kind: TaskKind?
    do throws(ServingError) {
      kind = try first.receive(bytes, isLast: isLast)
    } catch {
      throw Problem(error)
    }
    guard let kind else { return }
    let upload = try await serving { [node, fileName, principal] () throws(ServingError) in
      try await node.beginDataset(name: fileName, kind: kind, principal: principal)
    }
    self.upload = upload
    ingest = DatasetIngest(isCSV: false, kind: kind, limitBytes: limitBytes)
    let begun = first.bytes
    first = FirstRow()
    try await ingest?.take(begun, into: upload)
  }

  private func checkForm() throws(Problem) {
    if let purposeText {
      if purposeText != Array(Self.purpose.utf8) {
        errors.add("purpose", "is not supported", allowed: Self.purpose)
      }
    } else {
      errors.add("purpose", "is missing", allowed: Self.purpose)
    }
    if !hasFile { errors.add("file", "is missing") }
    try errors.check()
  }

  /// The file's name as a data set's: what names do not hold becomes `_`.
  static func name(_ fileName: String?) -> String {
    let plain = (fileName ?? "").unicodeScalars.map { scalar in
      let byte = scalar.isASCII ? UInt8(scalar.value) : 0
      return Names.isLetterOrDigit(byte) || "._-".utf8.contains(byte) ? Character(scalar) : "_"
    }
    let name = String(plain.drop { !Names.isLetterOrDigit($0.asciiValue ?? 0) }.prefix(128))
    return name.isEmpty ? "file" : name
  }
}
