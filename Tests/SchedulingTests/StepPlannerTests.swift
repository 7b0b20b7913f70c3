import Testing

@testable import Scheduling

/// A cache of keys and values as numbers: who holds how many pages, and one stored prefix that anyone may begin with.
private struct PagePool {
  let limits: StepLimits
  /// Tokens of a request in the cache, and how many of them lie in the stored prefix's pages.
  var held: [Int: (computed: Int, reused: Int)] = [:]
  var storedPages = 0

  func own(_ id: Int) -> Int {
    held[id].map { limits.pages(for: $0.computed) - $0.reused / limits.pageTokens } ?? 0
  }
  /// The longest part of the prefix that somebody uses.
  var pinned: Int { held.values.map { $0.reused / limits.pageTokens }.max() ?? 0 }
  var used: Int { held.keys.reduce(storedPages) { $0 + own($1) } }
  var free: Int { limits.pages - used + storedPages - pinned }

  /// What is only kept makes room.
  mutating func settle() {
    if used > limits.pages { storedPages = max(pinned, storedPages - (used - limits.pages)) }
  }
}

@Suite struct StepPlannerTests {
  private func planner(
    rows: Int = 4, chunk: Int = 32, pages: Int = 100, pageTokens: Int = 16
  ) -> StepPlanner<Int> {
    StepPlanner(limits: StepLimits(rows: rows, chunkTokens: chunk, pages: pages, pageTokens: pageTokens))
  }

  /// Plans and commits a step, and gives every row that reached its end a token.
  private func step(
    _ planner: inout StepPlanner<Int>, freePages: Int = 100, promptTokens: Int? = nil
  ) throws -> StepPlan<Int> {
    guard case .step(let plan) = planner.plan(freePages: freePages, promptTokens: promptTokens) else {
      throw NoStep()
    }
    planner.commit(plan)
    for piece in plan.pieces where piece.givesToken { planner.extend(piece.id) }
    return plan
  }

  private struct NoStep: Error {}

  @Test func `a prompt is computed in chunks and then a token a step`() throws {
    var planner = planner()
    planner.add(1, principal: "p", tokens: 70)
    #expect(try step(&planner).pieces == [.init(id: 1, tokens: 0..<32, givesToken: false)])
    #expect(try step(&planner).pieces == [.init(id: 1, tokens: 32..<64, givesToken: false)])
    #expect(try step(&planner).pieces == [.init(id: 1, tokens: 64..<70, givesToken: true)])
    let plan = try step(&planner)
    #expect(plan.pieces == [.init(id: 1, tokens: 70..<71, givesToken: true)])
    #expect(plan.promptTokens == 0 && plan.streams == 1)
    let (removed, again) = (planner.remove(1), planner.remove(1))
    #expect(removed && !again && planner.isEmpty)
    guard case .idle = planner.plan(freePages: 100) else { throw NoStep() }
  }

  @Test func `asked twice a plan is the same`() throws {
    var planner = planner()
    for id in 0..<6 { planner.add(id, principal: "p\(id % 2)", tokens: 20 + id) }
    for _ in 0..<20 {
      guard case .step(let first) = planner.plan(freePages: 50),
        case .step(let second) = planner.plan(freePages: 50)
      else { throw NoStep() }
      #expect(first.pieces == second.pieces && first.admissions == second.admissions)
      _ = try step(&planner, freePages: 50)
    }
  }

  @Test func `streams go on in every step while a prompt arrives`() throws {
    var planner = planner()
    planner.add(1, principal: "p", tokens: 5)
    _ = try step(&planner)
    planner.add(2, principal: "p", tokens: 1_000)
    var steps = 0
    while planner.streams < 2 {
      let plan = try step(&planner, promptTokens: 8)
      #expect(plan.pieces.contains { $0.id == 1 && $0.tokens.count == 1 && $0.givesToken })
      #expect(plan.promptTokens <= 8)
      steps += 1
    }
    #expect(steps == 125)
  }

  @Test func `a short prompt does not wait for a long one`() throws {
    var planner = planner()
    planner.add(1, principal: "p", tokens: 1_000)
    for _ in 0..<3 { _ = try step(&planner) }
    planner.add(2, principal: "p", tokens: 30)
    var steps = 1
    while try !step(&planner).pieces.contains(where: { $0.id == 2 && $0.givesToken }) { steps += 1 }
    #expect(steps <= 2)
  }

  @Test func `a flood of short prompts does not stop a long one`() throws {
    var planner = planner(rows: 8)
    planner.add(0, principal: "p", tokens: 320)
    var next = 1
    for count in 1... {
      while planner.runningCount + planner.waitingCount < 16 {
        planner.add(next, principal: "p", tokens: 32)
        next += 1
      }
      let plan = try step(&planner)
      for piece in plan.pieces where piece.givesToken && piece.id > 0 { planner.remove(piece.id) }
      if plan.pieces.contains(where: { $0.id == 0 && $0.givesToken }) { break }
      try #require(count < 200)
    }
  }

  @Test func `principals share prompt tokens whatever they ask`() throws {
    var planner = planner(rows: 8)
    for id in 0..<7 { planner.add(id, principal: "many", tokens: 700) }
    planner.add(7, principal: "one", tokens: 700)
    var served = ["many": 0, "one": 0]
    for _ in 0..<20 {
      for piece in try step(&planner, freePages: 1_000).pieces {
        served[piece.id == 7 ? "one" : "many", default: 0] += piece.tokens.count
      }
    }
    #expect(abs((served["many"] ?? 0) - (served["one"] ?? 0)) <= 32)
  }

  @Test func `a free row goes to the principal that was served least`() throws {
    var planner = planner(rows: 2)
    for id in 0..<5 { planner.add(id, principal: "many", tokens: 10) }
    _ = try step(&planner)
    planner.add(9, principal: "one", tokens: 10)
    planner.remove(0)
    #expect(try step(&planner).admissions.map(\.id) == [9])
  }

  @Test func `what does not fit keeps its turn`() throws {
    var planner = planner(pages: 10)
    planner.add(1, principal: "p", tokens: 64)
    _ = try step(&planner, freePages: 10)
    planner.add(2, principal: "p", tokens: 160)
    planner.add(3, principal: "p", tokens: 10)
    // Four pages are the first one's: the second does not fit, and the third does not overtake.
    let plan = try step(&planner, freePages: 8)
    #expect(plan.admissions.isEmpty && planner.waitingCount == 2)
    planner.remove(1)
    #expect(try step(&planner, freePages: 10).admissions.map(\.id) == [2])
  }

  @Test func `the youngest gives its pages back and the oldest keeps its own`() throws {
    var planner = planner(pages: 4)
    planner.add(1, principal: "p", tokens: 16)
    planner.add(2, principal: "p", tokens: 16)
    _ = try step(&planner, freePages: 4)
    // Both want a second page, and one is left.
    guard case .preempt(let victim) = planner.plan(freePages: 1) else { throw NoStep() }
    #expect(victim == 2)
    planner.preempt(victim)
    #expect(planner.waitingCount == 1 && planner.runningCount == 1)
    #expect(try step(&planner, freePages: 2).pieces == [.init(id: 1, tokens: 16..<17, givesToken: true)])
    planner.remove(1)
    // It starts anew with the token that it had chosen.
    let plan = try step(&planner, freePages: 4)
    #expect(plan.pieces == [.init(id: 2, tokens: 0..<17, givesToken: true)])
  }

  @Test func `tokens that the cache holds are not computed`() throws {
    var planner = planner()
    planner.add(1, principal: "p", tokens: 50)
    let decision = planner.plan(freePages: 100) { _ in StepReuse(tokens: 32, freePages: 2) }
    guard case .step(let plan) = decision else { throw NoStep() }
    #expect(plan.admissions == [.init(id: 1, reusedTokens: 32)])
    #expect(plan.pieces == [.init(id: 1, tokens: 32..<50, givesToken: true)])
    // The pages that it takes from the free ones count.
    let refused = planner.plan(freePages: 3) { _ in StepReuse(tokens: 32, freePages: 2) }
    guard case .idle = refused else { throw NoStep() }
    planner.commit(plan)
    #expect(planner.runningCount == 1)
  }

  /// Random arrivals, ends and cancellations over a small cache: no step takes more pages than are free, every stream
  /// goes on in every step, no token is computed twice or left out, and everyone ends.
  @Test(arguments: UInt64(1)...30) func `random requests all end within the limits`(seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    let limits = StepLimits(
      rows: Int.random(in: 1...6, using: &generator), chunkTokens: Int.random(in: 1...40, using: &generator),
      pages: Int.random(in: 8...30, using: &generator), pageTokens: 16)
    var planner = StepPlanner<Int>(limits: limits)
    var pool = PagePool(limits: limits)
    pool.storedPages = Int.random(in: 0...4, using: &generator)
    /// Tokens known, and tokens at the end.
    var open: [Int: (tokens: Int, end: Int)] = [:]
    var (next, ended, preempted, cancelled, steps) = (0, 0, 0, 0, 0)
    let most = limits.pages * limits.pageTokens
    while next < 120 || !open.isEmpty {
      if next < 120, open.count < 12, Bool.random(using: &generator) {
        let end = Int.random(in: 2...min(most, 260), using: &generator)
        let prompt = Int.random(in: 1..<end, using: &generator)
        planner.add(next, principal: "p\(Int.random(in: 0..<3, using: &generator))", tokens: prompt)
        open[next] = (prompt, end)
        next += 1
      }
      if cancelled < 30, Int.random(in: 0..<40, using: &generator) == 0, let victim = open.keys.min() {
        cancelled += 1
        planner.remove(victim)
        (open[victim], pool.held[victim]) = (nil, nil)
      }
      let before = pool
      let tokens = open
      func reuse(_ id: Int) -> StepReuse {
        guard id % 3 == 0, let known = tokens[id]?.tokens else { return .none }
        let pages = min(before.storedPages, (known - 1) / limits.pageTokens)
        return StepReuse(
          tokens: pages * limits.pageTokens, freePages: max(0, pages - before.pinned))
      }
      let budget = Int.random(in: 1...40, using: &generator)
      switch planner.plan(freePages: pool.free, promptTokens: budget, reuse: reuse) {
      case .preempt(let id):
        #expect(id == pool.held.keys.max(), "seed \(seed): the youngest goes")
        planner.preempt(id)
        pool.held[id] = nil
        preempted += 1
      case .idle:
        #expect(pool.held.isEmpty && open.isEmpty, "seed \(seed): idle while \(open.count) are open")
        if !open.isEmpty { return }
      case .step(let plan):
        let streams = pool.held.keys.filter { id in
          (open[id]?.tokens ?? 0) - (pool.held[id]?.computed ?? 0) == 1
        }
        planner.commit(plan)
        for admission in plan.admissions {
          #expect(pool.held[admission.id] == nil)
          pool.held[admission.id] = (admission.reusedTokens, admission.reusedTokens)
        }
        #expect(Set(plan.pieces.map(\.id)).count == plan.pieces.count)
        #expect(plan.promptTokens <= min(budget, limits.chunkTokens))
        #expect(pool.held.count <= limits.rows && planner.runningCount == pool.held.count)
        for stream in streams {
          #expect(plan.pieces.contains { $0.id == stream && $0.givesToken }, "seed \(seed): \(stream) waits")
        }
        for piece in plan.pieces {
          guard let known = open[piece.id]?.tokens, let computed = pool.held[piece.id]?.computed else {
            Issue.record("seed \(seed): \(piece.id) does not run")
            return
          }
          #expect(piece.tokens.lowerBound == computed && piece.tokens.upperBound <= known)
          #expect(piece.givesToken == (piece.tokens.upperBound == known))
          pool.held[piece.id]?.computed = piece.tokens.upperBound
          guard piece.givesToken else { continue }
          planner.extend(piece.id)
          open[piece.id]?.tokens += 1
          if let row = open[piece.id], row.tokens >= row.end {
            planner.remove(piece.id)
            (open[piece.id], pool.held[piece.id]) = (nil, nil)
            ended += 1
          }
        }
        pool.settle()
        #expect(pool.used <= limits.pages, "seed \(seed): \(pool.used) of \(limits.pages) pages")
      }
      #expect(planner.runningCount + planner.waitingCount == open.count)
      steps += 1
      try #require(steps < 200_000, "seed \(seed): no end")
    }
    #expect(
      planner.isEmpty && pool.held.isEmpty && ended > 60,
      "seed \(seed): \(ended) ended, \(preempted) preempted")
  }
}

@Suite struct StepPaceTests {
  /// A machine whose steps cost so much a stream and a prompt token, the latter growing with its place, and so much for
  /// the keys of the prompt's 4,000 tokens, read once a step.
  private struct Machine {
    let base: Double
    let stream: Double
    let prompt: Double
    let keys: Double
    var generator: SeededGenerator

    mutating func seconds(streams: Int, promptTokens: Int, place: Int) -> Double {
      let growth = 1 + Double(place) / 4_000
      let work = base + stream * Double(streams) + prompt * growth * Double(promptTokens)
      let reading = promptTokens > 0 ? keys * Double(place) / 4_000 : 0
      return (work + reading) * Double.random(in: 0.9...1.1, using: &generator)
    }

    /// Prompt tokens of a step that lasts `stretch` times one without, 1 through 96.
    func fitting(streams: Int, place: Int) -> Double {
      let room = (StepPace.stretch - 1) * (base + stream * Double(streams)) - keys * Double(place) / 4_000
      return min(96, max(1, room / (prompt * (1 + Double(place) / 4_000))))
    }
  }

  /// From bound by memory (a stream more costs little) to bound by arithmetic.
  @Test(arguments: [
    (20e-3, 0.1e-3, 2e-3, 0), (5e-3, 1e-3, 1.5e-3, 0), (0.1e-3, 2.5e-3, 2.8e-3, 0), (30e-3, 3e-3, 6e-3, 0),
    (11e-3, 0.1e-3, 0.5e-3, 12e-3), (10e-3, 1e-3, 0.1e-3, 10e-3),
  ])
  func `a prompt of 4000 tokens makes no stream wait four times as long`(
    _ base: Double, _ stream: Double, _ prompt: Double, _ keys: Double
  ) {
    for streams in [1, 4, 8] {
      var machine = Machine(
        base: base, stream: stream, prompt: prompt, keys: keys,
        generator: SeededGenerator(state: UInt64(streams)))
      var pace = StepPace(chunkTokens: 96)
      var usual = 0.0
      for _ in 0..<40 {
        let seconds = machine.seconds(streams: streams, promptTokens: 0, place: 0)
        usual += seconds / 40
        pace.record(streams: streams, promptTokens: 0, seconds: seconds)
      }
      var (place, longest, steps) = (0, 0.0, 0)
      while place < 4_000 {
        let tokens = min(pace.promptTokens(streams: streams), 4_000 - place)
        let seconds = machine.seconds(streams: streams, promptTokens: tokens, place: place)
        pace.record(streams: streams, promptTokens: tokens, seconds: seconds)
        longest = max(longest, seconds)
        place += tokens
        steps += 1
      }
      #expect(longest <= 4 * usual, "\(longest / usual) times, \(streams) streams")
      // It does not crawl either.
      let least = (0..<4_000).reduce(0) { $0 + 1 / machine.fitting(streams: streams, place: $1) }
      #expect(Double(steps) <= 1.5 * least, "\(steps) steps of \(streams) streams, \(least) would do")
    }
  }

  @Test func `without a stream a prompt has the whole chunk, and before anything is known a token`() {
    var pace = StepPace(chunkTokens: 96)
    #expect(pace.promptTokens(streams: 0) == 96)
    #expect(pace.promptTokens(streams: 3) == 1)
    // A machine where prompt tokens cost more than whole steps still goes on.
    pace.record(streams: 1, promptTokens: 0, seconds: 1e-3)
    #expect(pace.promptTokens(streams: 1) == StepPace.firstTokens)
    pace.record(streams: 1, promptTokens: 2, seconds: 1)
    #expect(pace.promptTokens(streams: 1) == 1)
    #expect(StepPace(chunkTokens: 1).promptTokens(streams: 1) == 1)
  }

  /// Requests that come at once never make a step of streams alone before all their prompts are done.
  @Test func `prompts beside the first stream do not crawl`() {
    for (base, row) in [(10e-3, 0.5e-3), (0.1e-3, 2e-3)] {
      var pace = StepPace(chunkTokens: 96)
      func seconds(_ rows: Int) -> Double { base + row * Double(rows) }
      pace.record(streams: 0, promptTokens: 96, seconds: seconds(96))
      var (steps, longest) = (0, [Double]())
      for streams in 1...8 {
        var place = 0
        while place < 256 {
          let tokens = pace.promptTokens(streams: streams)
          pace.record(streams: streams, promptTokens: tokens, seconds: seconds(streams + tokens))
          longest.append(seconds(streams + tokens) / seconds(streams))
          place += tokens
          steps += 1
        }
      }
      #expect(longest.allSatisfy { $0 <= 4 }, "\(longest.max() ?? 0)")
      let least = (1...8).reduce(0) {
        $0 + 256 / min(96, (StepPace.stretch - 1) * seconds($1) / row)
      }
      #expect(Double(steps) <= 2 * least + 16, "\(steps) steps, \(least) would do")
    }
  }

  @Test func `fewer streams have less to spare for a prompt`() {
    var pace = StepPace(chunkTokens: 96)
    func seconds(_ streams: Int, _ tokens: Int) -> Double {
      1e-3 + 4e-3 * Double(streams) + 1e-3 * Double(tokens)
    }
    for streams in [1, 8] { pace.record(streams: streams, promptTokens: 0, seconds: seconds(streams, 0)) }
    for _ in 0..<10 {
      let tokens = pace.promptTokens(streams: 8)
      pace.record(streams: 8, promptTokens: tokens, seconds: seconds(8, tokens))
    }
    let tokens = pace.promptTokens(streams: 1)
    #expect(seconds(1, tokens) <= 4 * seconds(1, 0))
    #expect(tokens < pace.promptTokens(streams: 8))
  }

  @Test func `one slow moment halves a prompt's tokens, and two steps make up for it`() {
    var pace = StepPace(chunkTokens: 96)
    func seconds(_ tokens: Int) -> Double { 10e-3 + 0.5e-3 * Double(tokens) }
    let room = (StepPace.stretch - 1) * 10e-3 / 0.5e-3
    pace.record(streams: 1, promptTokens: 0, seconds: seconds(0))
    func go(_ steps: Int) -> Int {
      for _ in 0..<steps {
        let tokens = pace.promptTokens(streams: 1)
        pace.record(streams: 1, promptTokens: tokens, seconds: seconds(tokens))
      }
      return pace.promptTokens(streams: 1)
    }
    let usual = go(10)
    #expect(0.85 * room...room ~= Double(usual))
    pace.record(streams: 1, promptTokens: usual, seconds: 1)
    #expect(pace.promptTokens(streams: 1) == usual / 2)
    #expect(0.85 * room...room ~= Double(go(2)))
  }
}
