internal import CPlatform
internal import Glibc
internal import HTTPWire
internal import Synchronization

/// What the loop calls when a descriptor is ready or a timer is due; always on the loop's thread.
protocol EventTarget: AnyObject, Sendable {
  func ready(_ events: UInt32)
  func timerFired(now: Int64)
}

/// One thread around epoll that is a Swift executor itself: connections are actors on it, so their straight-line code
/// runs where their socket's events arrive, without a hop.
// SAFETY: the thread that `start` makes owns every var · `checkIsolated` at each entry that touches them; only `inbox`
// (locked) and `thread` (an atomic) are used from elsewhere.
final class EventLoop: SerialExecutor, TaskExecutor, @unchecked Sendable {
  private struct Inbox {
    var jobs: [UnownedJob] = []
    var isSignalled = false
    var isStopping = false
  }

  private struct Slot {
    var target: (any EventTarget)?
    var generation: UInt32 = 0
  }

  // Jobs run before the sockets are looked at again.
  private static let jobBudget = 256
  private static let eventCapacity = 256
  private static let wakeupToken = UInt64.max
  private static let outputBytes = 64 << 10
  private static let outputLimit = 64

  private let poll: Int32
  private let wakeup: Int32
  private let name: String
  private let thread = Atomic<UInt>(0)
  private let inbox = Locked(Inbox())
  private var jobs: [UnownedJob] = []
  /// Connections with an answer to write.
  private var writers: [Connection] = []
  private var outputs: [[UInt8]] = []
  private var slots: [Slot] = []
  private var freeSlots: [Int] = []
  private(set) var wheel: TimerWheel
  private var due: [UInt64] = []
  private let scratch = UnsafeMutableRawBufferPointer.allocate(
    byteCount: RequestParser.pieceBytes, alignment: 64)
  /// Nanoseconds of the monotonic clock when the loop last woke.
  private(set) var now: Int64
  private var dateSecond: Int64 = 0
  private var dateText = ""
  let counters = LoopCounters()

  init(name: String) throws(ServerError) {
    self.name = name
    poll = csystem_poll_create()
    wakeup = csystem_wakeup_create()
    now = csystem_monotonic_nanoseconds()
    wheel = TimerWheel(now: now)
    guard poll >= 0, wakeup >= 0, csystem_poll_add_wakeup(poll, wakeup, EventLoop.wakeupToken) == 0 else {
      throw .system(call: "epoll", code: errno)
    }
  }

  deinit {
    close(poll)
    close(wakeup)
    scratch.deallocate()
  }

  /// Starts the thread.
  func start() throws(ServerError) {
    var handle = pthread_t()
    let argument = Unmanaged.passRetained(self).toOpaque()
    let code = pthread_create(
      &handle, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<EventLoop>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, argument)
    if code != 0 {
      Unmanaged<EventLoop>.fromOpaque(argument).release()
      throw .system(call: "pthread_create", code: code)
    }
    pthread_detach(handle)
  }

  /// Ends the thread once its jobs are done; what is enqueued later never runs.
  func stop() {
    inbox.withLock { $0.isStopping = true }
    csystem_wakeup_signal(wakeup)
  }

  // MARK: Executor

  var isOnLoop: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isOnLoop {
      jobs.append(job)
      return
    }
    let mustSignal = inbox.withLock { inbox in
      inbox.jobs.append(job)
      defer { inbox.isSignalled = true }
      return !inbox.isSignalled
    }
    if mustSignal { csystem_wakeup_signal(wakeup) }
  }

  func checkIsolated() { precondition(isOnLoop, "called off its event loop") }

  func isIsolatingCurrentContext() -> Bool? { isOnLoop }

  // MARK: For what lives on the loop

  /// Registers a connection's socket; the token names it for timers too.
  func add(connection descriptor: Int32, _ target: any EventTarget) -> UInt64? {
    add(target) { csystem_poll_add_connection(poll, descriptor, $0) }
  }

  /// Registers a listening socket.
  func add(listener descriptor: Int32, _ target: any EventTarget) -> UInt64? {
    add(target) { csystem_poll_add_listener(poll, descriptor, $0) }
  }

  /// Registers something with timers alone.
  func add(timer target: any EventTarget) -> UInt64 { add(target) { _ in 0 } ?? 0 }

  private func add(_ target: any EventTarget, _ register: (UInt64) -> Int32) -> UInt64? {
    checkIsolated()
    let index = freeSlots.popLast() ?? slots.count
    if index == slots.count { slots.append(Slot()) }
    let token = UInt64(slots[index].generation) << 32 | UInt64(index)
    guard register(token) == 0 else {
      freeSlots.append(index)
      return nil
    }
    slots[index].target = target
    return token
  }

  /// Forgets a target: nothing is reported to it any more, pending reports included.
  func remove(_ token: UInt64, descriptor: Int32?) {
    checkIsolated()
    let index = Int(token & 0xffff_ffff)
    guard slots[index].generation == UInt32(token >> 32) else { return }
    slots[index].target = nil
    slots[index].generation &+= 1
    freeSlots.append(index)
    if let descriptor { _ = csystem_poll_remove(poll, descriptor) }
  }

  /// `timerFired` is called around `time`; early only for times seconds away.
  func schedule(_ token: UInt64, at time: Int64) {
    checkIsolated()
    wheel.schedule(token, at: time)
  }

  /// One buffer for all reads of the loop: idle connections hold none.
  func withReadBuffer<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
    checkIsolated()
    return body(scratch)
  }

  /// Has a connection write what it holds once the jobs that wait have run: reads, answers and writes of many
  /// connections each go in a row, so that their code stays in the processor's caches.
  func writeLater(_ connection: Connection) {
    checkIsolated()
    writers.append(connection)
  }

  private func write() {
    for connection in writers { connection.writeNow() }
    writers.removeAll(keepingCapacity: true)
  }

  /// Memory for an answer, empty; `giveBack` it when the answer is out, so that another finds it warm and an idle
  /// connection holds none.
  func takeOutput() -> [UInt8] {
    checkIsolated()
    return outputs.popLast() ?? []
  }

  func giveBack(_ output: inout [UInt8]) {
    checkIsolated()
    if output.capacity <= EventLoop.outputBytes, outputs.count < EventLoop.outputLimit {
      output.removeAll(keepingCapacity: true)
      outputs.append(output)
    }
    output = []
  }

  /// The Date field's value, made once a second.
  var date: String {
    checkIsolated()
    let second = csystem_unix_seconds()
    if second != dateSecond {
      dateSecond = second
      dateText = HTTPDate.format(second)
    }
    return dateText
  }

  // MARK: The thread

  private func run() {
    csystem_name_thread(name)
    thread.store(UInt(pthread_self()), ordering: .relaxed)
    let events = UnsafeMutablePointer<csystem_event>.allocate(capacity: EventLoop.eventCapacity)
    defer { events.deallocate() }
    while true {
      let isStopping = takeInbox()
      runJobs()
      write()
      if isStopping, jobs.isEmpty, inbox.withLock({ $0.jobs.isEmpty }) {
        // The system gives a thread's name to the next one: from here on nobody is on this loop.
        thread.store(0, ordering: .relaxed)
        return
      }
      var timeout: Int32 = -1
      if !jobs.isEmpty {
        timeout = 0
      } else if let wait = wheel.wait(now: now) {
        timeout = Int32(clamping: wait)
      }
      let count = csystem_poll_wait(poll, events, Int32(EventLoop.eventCapacity), timeout)
      now = csystem_monotonic_nanoseconds()
      for index in 0..<max(0, Int(count)) { report(events[index]) }
      fireTimers()
    }
  }

  private func takeInbox() -> Bool {
    inbox.withLock { inbox in
      if !inbox.jobs.isEmpty {
        jobs.append(contentsOf: inbox.jobs)
        inbox.jobs.removeAll(keepingCapacity: true)
      }
      inbox.isSignalled = false
      return inbox.isStopping
    }
  }

  private func runJobs() {
    let serial = asUnownedSerialExecutor()
    let task = asUnownedTaskExecutor()
    var index = 0
    while index < jobs.count, index < EventLoop.jobBudget {
      let job = jobs[index]
      index += 1
      job.runSynchronously(isolatedTo: serial, taskExecutor: task)
    }
    if index == jobs.count {
      jobs.removeAll(keepingCapacity: true)
    } else {
      jobs.removeFirst(index)
    }
  }

  private func report(_ event: csystem_event) {
    if event.token == EventLoop.wakeupToken {
      csystem_wakeup_clear(wakeup)
      return
    }
    target(event.token)?.ready(event.events)
  }

  private func fireTimers() {
    wheel.advance(to: now, into: &due)
    if due.isEmpty { return }
    for token in due { target(token)?.timerFired(now: now) }
    due.removeAll(keepingCapacity: true)
  }

  private func target(_ token: UInt64) -> (any EventTarget)? {
    let slot = slots[Int(token & 0xffff_ffff)]
    return slot.generation == UInt32(token >> 32) ? slot.target : nil
  }
}

/// One loop's share of the metrics.
final class LoopCounters: Sendable {
  let open = Atomic<Int>(0)
  let accepted = Atomic<Int>(0)
  let refused = Atomic<Int>(0)
  let requests = Atomic<Int>(0)
  let malformed = Atomic<Int>(0)
  let timeouts = Atomic<Int>(0)
  let abandoned = Atomic<Int>(0)
  let received = Atomic<Int>(0)
  let sent = Atomic<Int>(0)
}

extension Duration {
  /// Nanoseconds, saturating.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    // Half of the range leaves room for adding the present.
    return overflow || scaled > Int64.max / 2 ? Int64.max / 2 : scaled + attoseconds / 1_000_000_000
  }
}
