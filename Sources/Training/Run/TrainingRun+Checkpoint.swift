public import Adapters
public import Models
internal import Tensors

/// A checkpoint holds what a run cannot recompute: parameters, moments, counters and the best epoch. Order, masks and
/// initial values are functions of the seed, so a resumed run's bytes equal an uninterrupted one's.
extension TrainingRun {
  private static let magic: UInt64 = 0x3130_4b43_4152_4f43  // "CORACK01"

  /// The state as bytes. Between the halves of a step the step counts as not begun.
  public func checkpoint() -> [UInt8] {
    var writer = CheckpointWriter()
    writer.write(Self.magic)
    writer.write(set.fingerprint)
    writer.write(settingsFingerprint)
    writer.write(UInt64(step))
    writer.write(UInt64(phase == .validation ? 1 : phase == .finished ? 2 : 0))
    writer.write(epochLoss.sum)
    writer.write(epochLoss.weight)
    writer.write(optimiser.values)
    writer.write(optimiser.first)
    writer.write(optimiser.second)
    writer.write(UInt64(history.count))
    for metrics in history { writer.write(metrics) }
    writer.write(UInt64(best == nil ? 0 : 1))
    if let best {
      writer.write(best.values)
      writer.write(best.metrics)
      writer.write(best.thresholds)
    }
    return writer.bytes
  }

  /// A run that goes on where the checkpoint was taken. Data, settings, base and subspace must be the same.
  public convenience init(
    resuming checkpoint: [UInt8], base: BaseModel, subspace: Subspace?, resident: ResidentSubspace? = nil,
    set: TrainingSet, settings: TrainingSettings, from: AdapterVersion? = nil, limitTapeBytes: Int = .max
  ) throws(TrainingError) {
    try self.init(
      base: base, subspace: subspace, resident: resident, set: set, settings: settings, from: from,
      limitTapeBytes: limitTapeBytes)
    var reader = CheckpointReader(checkpoint)
    guard try reader.word() == Self.magic else { throw .checkpoint("not a checkpoint") }
    guard try reader.word() == set.fingerprint else { throw .checkpoint("it was made with other data") }
    guard try reader.word() == settingsFingerprint else {
      throw .checkpoint("it was made with other settings, another base or another subspace")
    }
    let step = try reader.word()
    guard step <= UInt64(totalSteps) else { throw .checkpoint("its step is past the end") }
    self.step = Int(step)
    switch try reader.word() {
    case 0 where self.step < totalSteps: phase = .step
    case 1: phase = .validation
    case 2 where self.step == totalSteps: phase = .finished
    default: throw .checkpoint("its phase is unknown")
    }
    epochLoss = (try reader.double(), try reader.double())
    optimiser.values = try reader.floats(count: layout.count)
    optimiser.first = try reader.floats(count: layout.count)
    optimiser.second = try reader.floats(count: layout.count)
    let epochs = try reader.word()
    guard epochs <= UInt64(settings.epochs) else { throw .checkpoint("it has too many epochs") }
    for _ in 0..<epochs { history.append(try reader.metrics(settings.kind)) }
    if try reader.word() == 1 {
      best = Best(
        values: try reader.floats(count: layout.count), metrics: try reader.metrics(settings.kind),
        thresholds: try reader.floats(count: settings.kind == .multilabel ? set.labels.count : 0))
    }
    try reader.finish()
  }

  /// Of settings, base and subspace: a checkpoint of others is refused.
  private var settingsFingerprint: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    let text = "\(settings) \(base.digest) \(subspace.map { "\($0.digest)" } ?? "") \(layout.count)"
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash
  }
}

/// Little-endian words, doubles by their bits, floats behind their count.
private struct CheckpointWriter {
  private(set) var bytes: [UInt8] = []

  mutating func write(_ word: UInt64) {
    withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func write(_ value: Double) { write(value.bitPattern) }

  mutating func write(_ values: [Float]) {
    write(UInt64(values.count))
    bytes.reserveCapacity(bytes.count + 4 * values.count)
    for value in values {
      withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
    }
  }

  mutating func write(_ metrics: TrainingMetrics) {
    write(UInt64(metrics.epoch))
    write(metrics.trainingLoss)
    write(UInt64(metrics.rows))
    for value in [
      metrics.validationLoss, metrics.accuracy, metrics.macroF1, metrics.rootMeanSquaredError,
    ] {
      write(UInt64(value == nil ? 0 : 1))
      write(value ?? 0)
    }
  }
}

private struct CheckpointReader {
  private let bytes: [UInt8]
  private var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func word() throws(TrainingError) -> UInt64 {
    guard bytes.count - offset >= 8 else { throw .checkpoint("it is cut off") }
    defer { offset += 8 }
    return (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
  }

  mutating func double() throws(TrainingError) -> Double { Double(bitPattern: try word()) }

  mutating func floats(count: Int) throws(TrainingError) -> [Float] {
    guard try word() == UInt64(count) else { throw .checkpoint("a tensor has another length") }
    guard bytes.count - offset >= 4 * count else { throw .checkpoint("it is cut off") }
    defer { offset += 4 * count }
    return (0..<count).map { index in
      let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[offset + 4 * index + $1]) << (8 * UInt32($1)) }
      return Float(bitPattern: bits)
    }
  }

  mutating func metrics(_ kind: TaskKind) throws(TrainingError) -> TrainingMetrics {
    let epoch = Int(truncatingIfNeeded: try word())
    let trainingLoss = try double()
    let rows = Int(truncatingIfNeeded: try word())
    var values: [Double?] = []
    for _ in 0..<4 {
      let isSet = try word() == 1
      let value = try double()
      values.append(isSet ? value : nil)
    }
    return TrainingMetrics(
      epoch: epoch, trainingLoss: trainingLoss, rows: rows, validationLoss: values[0], accuracy: values[1],
      macroF1: values[2], rootMeanSquaredError: values[3],
      perplexity: kind == .generation ? values[0].map(TrainingMetrics.perplexity) : nil)
  }

  func finish() throws(TrainingError) {
    guard offset == bytes.count else { throw .checkpoint("bytes are left over") }
  }
}
