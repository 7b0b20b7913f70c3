import DaemonSupport
import Digests
import Foundation
import HTTPClient
import HTTPWire
import Synchronization
import Testing

/// SIGKILL at random moments under load, again and again on one store: 5 times, or 50 with `CORAD_SOAK=1`. The moments
/// and the load come from `CORAD_SEED`.
@Suite(.serialized) struct CrashSoakTests {
  @Test func aStoreKilledAtRandomMomentsKeepsWhatItAcknowledged() async throws {
    let environment = ProcessInfo.processInfo.environment
    let kills = environment["CORAD_SOAK"] == "1" ? 50 : 5
    let seed = environment["CORAD_SEED"].flatMap { UInt64($0) } ?? 1
    let prepared = try await CrashPreparation.shared.prepared()
    let folder = try TemporaryFolder()
    let file = StoreFile(path: folder.path + "/store.sqlite")
    try FileManager.default.copyItem(atPath: prepared.store, toPath: file.path)
    let ledger = Ledger(prepared, file)
    var random = SplitMix(seed)
    var starts: [Double] = []
    var killedWhileOpening = 0
    for round in 0..<kills {
      // SQLite's recovery is the daemon's own in odd rounds.
      if round.isMultiple(of: 2) { #expect(try await file.verify() == [], "round \(round)") }
      if random.below(8) == 0 {
        let opening = try LiveDaemon(
          store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments)
        try await Task.sleep(for: .milliseconds(random.below(Int((starts.last ?? 0.5) * 1_000) + 1)))
        #expect(await opening.kill() == .signal(SIGKILL), "\(opening.log)")
        killedWhileOpening += 1
        continue
      }
      let daemon = try LiveDaemon(store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments)
      starts.append(try await daemon.listening())
      try await ledger.check(daemon, round: round)
      let delay = 10 + random.below(2_500)
      let load = Load(daemon, ledger, seed: random.next())
      try await withThrowingTaskGroup(of: Void.self) { group in
        for work in load.workers { group.addTask { try await blocking(work) } }
        try await Task.sleep(for: .milliseconds(delay))
        load.stop()
        #expect(await daemon.kill() == .signal(SIGKILL), "\(daemon.log)")
        try await group.waitForAll()
      }
    }
    #expect(try await file.verify() == [])
    let daemon = try await LiveDaemon.start(
      store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments)
    try await ledger.check(daemon, round: kills)
    try await ledger.finish(daemon)
    #expect(await daemon.terminate() == .exit(0))
    #expect(try await file.verify() == [])
    let figures = ledger.figures
    #expect(figures.longJobs > 0 && figures.answers > 0 && figures.versions > 2)
    starts.sort()
    print(
      """
      crash soak: \(kills) kills (\(killedWhileOpening) while opening), seed \(seed)
      restart to listening: median \(rounded(starts[starts.count / 2])) s, slowest \(rounded(starts[starts.count - 1])) s
      acknowledged: \(figures.versions) versions, \(figures.datasets) data sets, \(figures.jobs) jobs, \
      \(figures.activations) activations, \(figures.deletions) deletions; \
      compared byte for byte \(figures.comparisons) times after restarts, lost: \(figures.lost)
      answers under load: \(figures.answers), each the bits of its version
      long jobs that ended with the bytes of an uninterrupted run: \(figures.equalLongJobs) of \(figures.longJobs), \
      interrupted \(figures.interruptions) times
      """)
  }

  private func rounded(_ seconds: Double) -> String { String(format: "%.3f", seconds) }
}

/// A small generator with a seed: the same on every machine.
struct SplitMix {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// 0 up to `bound`.
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// What clients were told, and what they asked without being told.
final class Ledger: Sendable {
  struct Pending: Sendable {
    let key: String
    let body: String
    var job: String?
  }

  struct Long: Sendable {
    let method: String
    let task: String
    var job: String?
    var wasRunning = false
  }

  struct Figures: Sendable {
    var versions = 0
    var datasets = 0
    var jobs = 0
    var activations = 0
    var deletions = 0
    var answers = 0
    var longJobs = 0
    var equalLongJobs = 0
    /// Comparisons of something acknowledged with what a restart shows, and those that failed.
    var comparisons = 0
    var lost = 0
    var interruptions = 0
  }

  struct Books: Sendable {
    /// `task@version` to its bytes.
    var versions: [String: [UInt8]] = [:]
    var datasets: [String: [UInt8]] = [:]
    /// Asked to be deleted, without an answer.
    var deleting: Set<String> = []
    var deleted: Set<String> = []
    /// Jobs asked to be cancelled, answered or not.
    var cancelling: Set<String> = []
    /// The last state told.
    var jobs: [String: String] = [:]
    var active = 2
    var tried: Int?
    var pending: Pending?
    var long: Long
    var sequence = 0
    var figures = Figures()
  }

  let prepared: CrashPreparation.Prepared
  let file: StoreFile
  private let books: Mutex<Books>

  init(_ prepared: CrashPreparation.Prepared, _ file: StoreFile) {
    self.prepared = prepared
    self.file = file
    var first = Books(long: Long(method: CrashWorkbench.methods[0], task: "long-0"))
    for (version, bytes) in prepared.ready { first.versions["ready@\(version)"] = bytes }
    first.datasets[prepared.dataset] = prepared.datasetBytes
    books = Mutex(first)
  }

  func write<R: Sendable>(_ body: (inout sending Books) -> sending R) -> R { books.withLock(body) }
  var figures: Figures {
    books.withLock { books in
      var figures = books.figures
      figures.versions = books.versions.count
      figures.datasets = books.datasets.count
      figures.jobs = books.jobs.count
      return figures
    }
  }

  /// One comparison of something acknowledged.
  private func confirm(_ isThere: Bool, _ what: String) {
    #expect(isThere, "\(what)")
    write { books in
      books.figures.comparisons += 1
      if !isThere { books.figures.lost += 1 }
    }
  }

  /// A job was seen to have succeeded: from here on its version must be there with these bytes.
  func acknowledge(_ job: JSON, digest: String?) throws {
    guard let id = job["id"].string, let task = job["task"].string, let version = job["version"].int else {
      return
    }
    let bytes = try #require(try file.version(version, of: task), "\(task)@\(version)")
    if let digest { #expect("\(Digest.sha256(of: bytes))" == digest, "\(task)@\(version)") }
    write { books in
      books.versions["\(task)@\(version)"] = bytes
      books.jobs[id] = "succeeded"
    }
  }

  /// Compares a freshly started daemon and its file with the books.
  func check(_ daemon: LiveDaemon, round: Int) async throws {
    let told = write { $0 }
    for (name, bytes) in told.versions {
      let parts = name.split(separator: "@")
      let found = try file.version(Int(parts[1]) ?? 0, of: String(parts[0]))
      confirm(found == bytes, "round \(round): \(name)")
    }
    for (id, bytes) in told.datasets {
      let found = try file.dataset(id)
      if found == nil, told.deleting.contains(id) {
        write { books in
          books.datasets[id] = nil
          books.deleted.insert(id)
        }
        continue
      }
      confirm(found == bytes, "round \(round): data set \(id)")
    }
    for id in told.deleted { confirm(try file.dataset(id) == nil, "round \(round): \(id) is back") }
    #expect(try file.count("SELECT count(*) FROM datasets WHERE is_complete = 0") == 0)
    for (id, state) in told.jobs {
      let now = try await daemon.send(.get, "/jobs/\(id)")
      let found = now.json["state"].string ?? ""
      switch state {
      case "succeeded", "cancelled": confirm(found == state, "round \(round): was \(state): \(now.text)")
      default:
        let isAsked = found == "cancelled" && told.cancelling.contains(id)
        let goesOn = now.status == 200 && found != "failed" && found != "cancelled"
        confirm(isAsked || goesOn, "round \(round): job \(id): \(now.text)")
      }
    }
    let active = try await daemon.done(.get, "/adapters/ready")["active_version"].int
    confirm(active == told.active || active == told.tried, "round \(round): active is \(active ?? 0)")
    write { books in
      books.active = active ?? 0
      books.tried = nil
      books.deleting = []
      if books.long.wasRunning { books.figures.interruptions += 1 }
      books.long.wasRunning = false
    }
    // A trainer that was cut off leaves the long job paused.
    if let long = told.long.job, try await daemon.done(.get, "/jobs/\(long)")["state"].string == "paused" {
      _ = try await daemon.done(.post, "/jobs/\(long)/resume")
    }
  }

  /// Lets every accepted job end, and looks at the long one.
  func finish(_ daemon: LiveDaemon) async throws {
    let told = write { $0 }
    if let pending = told.pending {
      let job = try await daemon.accept(pending.body, key: pending.key)
      #expect(pending.job == nil || pending.job == job)
      write { $0.jobs[job] = "queued" }
    }
    for (id, state) in write({ $0.jobs }) where state != "succeeded" && state != "cancelled" {
      let ended = try await daemon.finished(id)
      let isCancelled = ended["state"].string == "cancelled" && told.cancelling.contains(id)
      #expect(isCancelled || ended["state"].string == "succeeded", "\(ended)")
      if !isCancelled { try acknowledge(ended, digest: nil) }
    }
    if let job = told.long.job {
      try longEnded(try await daemon.finished(job))
    }
  }

  /// The version of an interrupted run has the bytes of one that was not.
  func longEnded(_ job: JSON) throws {
    let long = write { $0.long }
    let bytes = try file.version(1, of: long.task)
    let isEqual = job["version"].int == 1 && bytes == prepared.uninterrupted[long.method]
    #expect(isEqual, "\(long.task): \(job)")
    try acknowledge(job, digest: nil)
    write { books in
      books.figures.longJobs += 1
      if isEqual { books.figures.equalLongJobs += 1 }
      let number = books.figures.longJobs
      books.long = Long(
        method: CrashWorkbench.methods[number % CrashWorkbench.methods.count], task: "long-\(number)")
    }
  }
}

/// Clients that work until the daemon is gone.
final class Load: Sendable {
  private let url: String
  private let ledger: Ledger
  private let seed: UInt64
  private let isStopped = Atomic(false)

  init(_ daemon: LiveDaemon, _ ledger: Ledger, seed: UInt64) {
    url = daemon.addresses.first ?? ""
    self.ledger = ledger
    self.seed = seed
  }

  /// From here on a lost connection is no surprise.
  func stop() { isStopped.store(true, ordering: .sequentiallyConsistent) }

  var workers: [@Sendable () throws -> Void] {
    (0..<7).map { index in
      { [self] in
        var random = SplitMix(seed &+ UInt64(index) &* 0x51ed_270b)
        let session = try Session(url)
        let works = [infer, infer, infer, upload, activate, train, watch]
        do {
          while !isStopped.load(ordering: .sequentiallyConsistent) { try works[index](&random, session) }
        } catch let error as ClientError {
          // The kill; before it, every request is to be answered.
          guard isStopped.load(ordering: .sequentiallyConsistent) else { throw error }
        }
      }
    }
  }

  /// One kept connection.
  private final class Session {
    private let client: HTTPClient
    init(_ url: String) throws { client = try HTTPClient(url: url, timeout: .seconds(60)) }

    func send(_ method: HTTPMethod, _ path: String, _ body: String? = nil, _ fields: [(String, String)] = [])
      throws -> Answer
    {
      var fields = fields
      if body != nil, fields.first?.0 != "Content-Type" {
        fields.append(("Content-Type", "application/json"))
      }
      return try Answer(client.send(method, path, fields: fields, body: body.map { Array($0.utf8) }))
    }

    func done(_ method: HTTPMethod, _ path: String, _ body: String? = nil, _ fields: [(String, String)] = [])
      throws -> JSON
    {
      let answer = try send(method, path, body, fields)
      guard (200..<300).contains(answer.status) else {
        throw LiveDaemon.Failure(description: "\(method) \(path): \(answer.status) \(answer.text)")
      }
      return answer.json
    }
  }

  /// A mixed batch: the row of `ready` must have the bits of the version that it names.
  private func infer(_ random: inout SplitMix, _ session: Session) throws {
    let filler = (0..<random.below(6)).map {
      #"{"task":"base","input":"row \#($0) of \#(random.below(1_000))"}"#
    }
    let items = [#"{"task":"ready","input":"\#(CrashPreparation.question)"}"#] + filler
    let answer = try session.done(.post, "/infer", #"{"items":[\#(items.joined(separator: ","))]}"#)
    let first = answer["results"][0]
    let version = try #require(first["version"].int, "\(answer)")
    #expect(first["prediction"] == ledger.prepared.answers[version], "\(first)")
    ledger.write { $0.figures.answers += answer["results"].items.count }
  }

  private func upload(_ random: inout SplitMix, _ session: Session) throws {
    let known = ledger.write { Array($0.datasets.keys).sorted() }
    if known.count > 4, random.below(3) == 0 {
      let id = known[random.below(known.count)]
      guard id != ledger.prepared.dataset else { return }
      ledger.write { _ = $0.deleting.insert(id) }
      _ = try session.done(.delete, "/datasets/\(id)")
      ledger.write { books in
        books.datasets[id] = nil
        books.deleting.remove(id)
        books.deleted.insert(id)
        books.figures.deletions += 1
      }
      return
    }
    let rows = 1 + random.below(1_500)
    let made = try session.done(
      .post, "/datasets?name=load&kind=classification", CrashWorkbench.lines(rows, seed: random.next()),
      [("Content-Type", "application/x-ndjson")])
    let id = try #require(made["id"].string)
    #expect(made["rows"].int == rows)
    let bytes = try #require(try ledger.file.dataset(id))
    ledger.write { $0.datasets[id] = bytes }
  }

  private func activate(_ random: inout SplitMix, _ session: Session) throws {
    let version = 1 + random.below(2)
    let expected = ledger.write { books in
      books.tried = version
      return books.active
    }
    let task = try session.done(
      .post, "/adapters/ready/activate", #"{"version":\#(version),"expected":\#(expected)}"#)
    #expect(task["active_version"].int == version)
    ledger.write { books in
      books.active = version
      books.tried = nil
      books.figures.activations += 1
    }
    Thread.sleep(forTimeInterval: Double(random.below(30)) / 1_000)
  }

  /// A short job, for which the long one steps aside; one in eight is cancelled instead.
  private func train(_ random: inout SplitMix, _ session: Session) throws {
    let choice = (random.below(6), random.below(2), random.next() % 1_000, random.below(8))
    let pending = ledger.write { books in
      if let pending = books.pending { return pending }
      books.sequence += 1
      let new = Ledger.Pending(
        key: "key-\(books.sequence)",
        body: CrashWorkbench.short(
          "small-\(choice.0)", method: CrashWorkbench.methods[choice.1], seed: choice.2))
      books.pending = new
      return new
    }
    let job = try session.done(.post, "/train", pending.body, [("Idempotency-Key", pending.key)])
    let id = try #require(job["id"].string)
    // The same key is the same job, on the other side of a crash too.
    #expect(pending.job == nil || pending.job == id)
    ledger.write { books in
      books.pending?.job = id
      if books.jobs[id] == nil { books.jobs[id] = "queued" }
    }
    let long = ledger.write { $0.long.job }
    if choice.3 == 0 {
      ledger.write { _ = $0.cancelling.insert(id) }
      let answer = try session.send(.post, "/jobs/\(id)/cancel")
      if answer.status == 200, let state = answer.json["state"].string {
        ledger.write { $0.jobs[id] = state }
      }
    }
    var isPaused = false
    if let long { isPaused = try session.send(.post, "/jobs/\(long)/pause").status == 200 }
    while true {
      let now = try session.done(.get, "/jobs/\(id)")
      let state = now["state"].string
      if state == "cancelled" { break }
      #expect(state != "failed", "\(now)")
      if state == "succeeded", let task = now["task"].string, let version = now["version"].int {
        let shown = try session.done(.get, "/adapters/\(task)/versions/\(version)")
        try ledger.acknowledge(now, digest: shown["digest"].string)
        break
      }
      Thread.sleep(forTimeInterval: 0.005)
    }
    ledger.write { $0.pending = nil }
    if isPaused, let long { _ = try session.send(.post, "/jobs/\(long)/resume") }
    Thread.sleep(forTimeInterval: Double(random.below(1_000)) / 1_000)
  }

  /// Keeps a long job going.
  private func watch(_ random: inout SplitMix, _ session: Session) throws {
    let long = ledger.write { $0.long }
    // The body's own key: asking again after a crash finds the same job.
    let started = try session.done(
      .post, "/train", CrashWorkbench.long(long.task, method: long.method), [("Idempotency-Key", long.task)])
    let id = try #require(started["id"].string)
    #expect(long.job == nil || long.job == id)
    ledger.write { $0.long.job = id }
    while true {
      let now = try session.done(.get, "/jobs/\(id)")
      if now["state"].string == "succeeded" || now["state"].string == "failed" {
        return try ledger.longEnded(now)
      }
      if now["step"].int ?? 0 > 0 { ledger.write { $0.long.wasRunning = true } }
      Thread.sleep(forTimeInterval: 0.02)
    }
  }
}
