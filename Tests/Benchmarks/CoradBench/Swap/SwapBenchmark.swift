import Adapters
import ArgumentParser
import Foundation
import HTTPClient
import HTTPWire
import Serving
import Synchronization

/// Publishing while serving: clients ask over a real socket while version after version is published through the call
/// that a job uses. A version's head answers its own number, so the label of an answer proves which version gave it.
struct SwapBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "swap",
    abstract: "Publishing while serving: failures, wrong versions, time to the first lease.")

  static let task = "swapped"

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Requests of all clients together.") var requests = 10_000
  @Option(help: "Versions published meanwhile.") var versions = 100
  @Option var clients = 8
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let result = try await measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() async throws -> SwapResult {
    let ledger = SwapLedger()
    let model = try Places.model(model)
    let result = try await BenchDaemon.with(
      model: model,
      replacing: { stages in
        var stages = stages
        stages.leased = { _, version in ledger.leased(version) }
        return stages
      }
    ) { daemon in
      let made = try await MadeVersion(daemon.node)
      try await publish(1, made, daemon.node, ledger)
      let threads = (0..<clients).map { _ in SwapClient(url: daemon.url, ledger: ledger, requests: requests) }
      let started = ContinuousClock.now
      let answering = threads.map { client in Task { await client.run() } }
      for number in 2...(versions + 1) {
        // Spread over the requests: the clients never wait for a publish, nor it for them.
        while ledger.sent * (versions + 1) < requests * (number - 1) {
          try await Task.sleep(for: .milliseconds(1))
        }
        try await publish(number, made, daemon.node, ledger)
      }
      for task in answering { await task.value }
      return ledger.result(
        requests: requests, clients: clients, seconds: (ContinuousClock.now - started).seconds)
    }
    say(
      "swap: \(result.requests) requests of \(result.clients) clients in \(result.seconds.text(1)) s, "
        + "\(result.published) versions published: \(result.failed) failed, \(result.wrong) answered by a version "
        + "neither active at arrival nor after")
    say(
      "publish to first lease: p50 \(result.toFirstLease.median.text(2)) ms, p99 "
        + "\(Sample.quantile(result.toFirstLease.values, 0.99).text(2)) ms; publish itself p50 "
        + "\(result.publish.median.text(2)) ms; answer p50 \(result.answer.median.text(2)) ms")
    return result
  }

  /// The number that a version's label says must be the one that it gets.
  private func publish(_ number: Int, _ made: MadeVersion, _ node: Node, _ ledger: SwapLedger) async throws {
    let version = made.version(seed: UInt64(number), rank: 8, labels: ["none", "\(number)"], winner: 1)
    ledger.publishing(number)
    let (given, isActive) = try await node.publish(
      version, task: Self.task, activate: true, principal: .anonymous)
    ledger.published(number)
    guard given == number, isActive else { throw BenchError("version \(number) was published as \(given)") }
  }
}

/// One client on a thread of its own: the next request follows the answer.
private final class SwapClient: Sendable {
  private let url: String
  private let ledger: SwapLedger
  private let requests: Int

  init(url: String, ledger: SwapLedger, requests: Int) {
    self.url = url
    self.ledger = ledger
    self.requests = requests
  }

  private struct Answer: Decodable {
    struct Prediction: Decodable { let label: String }
    let version: Int
    let predictions: [Prediction]
  }

  func run() async {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        self.askAll()
        continuation.resume()
      }
    }
  }

  private func askAll() {
    guard let client = try? HTTPClient(url: url) else { return ledger.failed() }
    while ledger.take(requests) {
      let active = ledger.active
      let started = ContinuousClock.now
      let body = Array(#"{"inputs": ["my card was charged twice"]}"#.utf8)
      guard
        let response = try? client.send(
          .post, "/adapters/\(SwapBenchmark.task)/infer", fields: [("Content-Type", "application/json")],
          body: body),
        response.status == 200,
        let answer = try? JSONDecoder().decode(Answer.self, from: Data(response.body)),
        let label = answer.predictions.first?.label
      else {
        ledger.failed()
        continue
      }
      ledger.answered(
        label: label, version: answer.version, activeAtArrival: active,
        milliseconds: (ContinuousClock.now - started).seconds * 1_000)
    }
  }
}

/// What was published, leased and answered, and when.
private final class SwapLedger: Sendable {
  private struct State {
    var sent = 0
    var failed = 0
    var wrong = 0
    var startedNumber = 0
    var active = 0
    var publishing: [Int: ContinuousClock.Instant] = [:]
    var publish = Sample()
    var toFirstLease = Sample()
    var firstLeases: Set<Int> = []
    var answer = Sample()
  }

  private let state = Mutex(State())

  var sent: Int { state.withLock { $0.sent } }
  /// The last version whose publish has returned: active, unless a newer one is.
  var active: Int { state.withLock { $0.active } }

  func take(_ limit: Int) -> Bool {
    state.withLock { state in
      guard state.sent < limit else { return false }
      state.sent += 1
      return true
    }
  }

  func publishing(_ number: Int) {
    state.withLock {
      $0.startedNumber = number
      $0.publishing[number] = .now
    }
  }

  func published(_ number: Int) {
    state.withLock { state in
      state.active = number
      if let started = state.publishing[number] {
        state.publish.values.append((.now - started).seconds * 1_000)
      }
    }
  }

  func leased(_ version: Int) {
    state.withLock { state in
      guard state.firstLeases.insert(version).inserted, version > 1, let started = state.publishing[version]
      else { return }
      state.toFirstLease.values.append((.now - started).seconds * 1_000)
    }
  }

  func failed() { state.withLock { $0.failed += 1 } }

  /// Right: the label is the version's, and that version was active at arrival or became so by now.
  func answered(label: String, version: Int, activeAtArrival: Int, milliseconds: Double) {
    state.withLock { state in
      state.answer.values.append(milliseconds)
      let isRight = label == "\(version)" && version >= activeAtArrival && version <= state.startedNumber
      if !isRight { state.wrong += 1 }
    }
  }

  func result(requests: Int, clients: Int, seconds: Double) -> SwapResult {
    state.withLock { state in
      SwapResult(
        requests: requests, clients: clients, published: state.publish.values.count - 1, seconds: seconds,
        answered: state.answer.values.count, failed: state.failed, wrong: state.wrong,
        leasedVersions: state.firstLeases.count - 1, toFirstLease: state.toFirstLease, publish: state.publish,
        answer: state.answer)
    }
  }
}

struct SwapResult: Codable {
  var provenance = Provenance()
  let requests: Int
  let clients: Int
  let published: Int
  let seconds: Double
  let answered: Int
  let failed: Int
  /// Answers of a version that was neither active when the request was sent nor later.
  let wrong: Int
  /// Published versions that answered at least one request.
  let leasedVersions: Int
  /// Milliseconds from the call to publish to the first request that leased the version.
  let toFirstLease: Sample
  /// Milliseconds of the call to publish, the durable commit included.
  let publish: Sample
  /// Milliseconds of a request as its client sees it.
  var answer: Sample

  var misses: [String] {
    var misses: [String] = []
    if failed > 0 { misses.append("\(failed) requests failed") }
    if wrong > 0 { misses.append("\(wrong) answers came from a wrong version") }
    if answered + failed != requests { misses.append("\(answered) of \(requests) requests were answered") }
    if leasedVersions < published / 2 {
      misses.append("\(leasedVersions) of \(published) versions answered anything: nothing was shown")
    }
    return misses
  }

  func write(record: Bool) throws {
    var short = self
    // Ten thousand values say no more than their quantiles.
    short.answer.values = [0, 0.25, 0.5, 0.75, 0.99, 1].map { Sample.quantile(answer.values, $0) }
    try ResultFile.write(short, "swap", record: record)
    let bars = [("publish to first lease", toFirstLease), ("publish", publish), ("answer", answer)].map {
      name, sample in
      BarPlot.Bar(
        label: name, value: sample.median, low: sample.least, high: Sample.quantile(sample.values, 0.99))
    }
    let plot = BarPlot(title: "Publishing while serving: median, least and p99", unit: "ms", bars: bars)
    try ResultFile.write(Data(plot.svg.utf8), "swap.svg", record: record)
  }
}
