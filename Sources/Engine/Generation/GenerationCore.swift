internal import Adapters
internal import Models
internal import Scheduling
internal import Tensors
internal import Tokenizers

/// A shard's rows, its cache of keys and values, and one step after the other over them. One thread at a time.
///
/// A row's result depends neither on its neighbours, nor on how its prompt is cut, nor on pages that it reuses, nor on
/// being computed again: docs/decisions/0011-generation.md.
final class GenerationCore {
  private let decoder: Decoder
  private let tokenizer: Tokenizer?
  private let cache: KVCache
  private let prefixes: PrefixStore
  private var planner: StepPlanner<UInt64>
  private var pace: StepPace
  private var rows: [UInt64: GenerationRow] = [:]
  /// Rows that have ended and given everything back, and have not said so.
  private var ends: [(row: GenerationRow, reason: FinishReason)] = []
  private var counts = GenerationFigures()

  /// - Parameters:
  ///   - cacheBytes: of keys and values, prefixes included.
  ///   - prefixBytes: of them, what prefixes that nobody uses may keep.
  init(
    decoder: Decoder, tokenizer: Tokenizer?, rows: Int, chunkTokens: Int, cacheBytes: Int, prefixBytes: Int,
    pageTokens: Int
  ) {
    self.decoder = decoder
    self.tokenizer = tokenizer
    cache = KVCache(
      decoder.configuration, element: decoder.element.keyValues, limitBytes: cacheBytes,
      pageTokens: pageTokens)
    prefixes = PrefixStore(
      limitPages: min(prefixBytes / cache.pageBytes, cache.limitPages), pageTokens: pageTokens)
    planner = StepPlanner(
      limits: StepLimits(
        rows: rows, chunkTokens: chunkTokens, pages: cache.limitPages, pageTokens: pageTokens))
    pace = StepPace(chunkTokens: chunkTokens)
  }

  var ids: [UInt64] { Array(rows.keys) }
  /// Requests that hold a row.
  var running: [UInt64] { planner.runningIDs }
  /// Tokens that a request may have at most.
  var limitTokens: Int { cache.limitPages * cache.pageTokens }

  var figures: GenerationFigures {
    var figures = counts
    figures.running = planner.runningCount
    figures.waiting = planner.waitingCount
    figures.pages = cache.usedPages
    figures.pageBytes = cache.pageBytes
    figures.prefixPages = prefixes.pages
    figures.residentBytes = cache.residentBytes
    return figures
  }

  func add(_ arrival: GenerationShard.Arrival) {
    let row = GenerationRow(arrival, tokenizer: tokenizer)
    rows[row.id] = row
    planner.add(row.id, principal: row.request.principal, tokens: row.tokens.count)
  }

  /// Ends a request and frees its row and pages; nothing when it has ended before.
  func end(_ id: UInt64, _ reason: FinishReason) {
    guard let row = rows.removeValue(forKey: id) else { return }
    planner.remove(id)
    row.sequence = nil
    ends.append((row, reason))
  }

  /// Those that have ended since it was asked last: who is told finds nothing left of the request.
  func takeEnds() -> [(row: GenerationRow, reason: FinishReason)] {
    defer { ends = [] }
    return ends
  }

  /// One step of all that run.
  /// - Parameter primary: the subspace whose B rides in the base's products.
  func step(primary: ResidentSubspace?, arena: Arena) {
    guard let plan = nextPlan() else { return }
    let pieces = start(plan)
    guard !pieces.isEmpty else { return }
    let clock = ContinuousClock()
    let began = clock.now
    arena.scope { compute(pieces, primary: primary, arena: arena) }
    let seconds = (clock.now - began) / .seconds(1)
    pace.record(streams: plan.streams, promptTokens: plan.promptTokens, seconds: seconds)
    counts.steps += 1
    counts.promptTokens += plan.promptTokens
  }

  // MARK: - Pages

  /// The next plan, after giving back what it needs; nil when nothing can run.
  private func nextPlan() -> StepPlan<UInt64>? {
    while true {
      let decision = planner.plan(
        freePages: cache.freePages + prefixes.evictablePages,
        promptTokens: pace.promptTokens(streams: planner.streams)
      ) { [rows] id in
        guard let row = rows[id] else { return .none }
        let found = self.prefix(of: row)
        return StepReuse(
          tokens: found.count * cache.pageTokens, freePages: found.count { !$0.page.isShared })
      }
      switch decision {
      case .step(let plan): return plan
      case .idle: return nil
      case .preempt(let id): preempt(id)
      }
    }
  }

  /// The last token is always computed: its scores choose the next one.
  private func prefix(of row: GenerationRow) -> [PrefixStore.Found] {
    prefixes.find(row.tokens, limitTokens: row.tokens.count - 1, scope: row.scope)
  }

  private func preempt(_ id: UInt64) {
    planner.preempt(id)
    rows[id]?.sequence = nil
    rows[id]?.chain = []
    counts.preemptions += 1
  }

  /// Starts what the plan admits and makes room for its tokens; rows of one adapter are neighbours in the result.
  private func start(_ plan: StepPlan<UInt64>) -> [Piece] {
    for admission in plan.admissions {
      guard let row = rows[admission.id] else { continue }
      let found = prefix(of: row)
      row.sequence = cache.makeSequence(found.map(\.page))
      row.chain = found.map(\.number)
      prefixes.touch(row.chain)
      if row.reusedTokens == nil {
        row.reusedTokens = admission.reusedTokens
        counts.reusedTokens += admission.reusedTokens
      }
    }
    planner.commit(plan)
    var pieces: [Piece] = []
    for piece in plan.pieces {
      guard let row = rows[piece.id], let sequence = row.sequence else { continue }
      if reserve(piece.tokens.count, sequence) {
        pieces.append(
          Piece(
            row: row, input: DecoderInput(sequence: sequence, tokens: Array(row.tokens[piece.tokens])),
            givesToken: piece.givesToken))
      } else {
        // The plan has counted the pages; a row that they do not reach for is computed again.
        preempt(piece.id)
      }
    }
    return pieces.sorted {
      ($0.row.order.subspace, $0.row.order.version, $0.row.id)
        < ($1.row.order.subspace, $1.row.order.version, $1.row.id)
    }
  }

  private func reserve(_ tokens: Int, _ sequence: KVSequence) -> Bool {
    while !sequence.reserve(tokens) {
      guard prefixes.evict() else { return false }
    }
    return true
  }

  /// Keeps the row's whole pages for requests that begin as it does.
  private func keepPages(of row: GenerationRow) {
    guard let sequence = row.sequence else { return }
    while (row.chain.count + 1) * cache.pageTokens <= sequence.count {
      let index = row.chain.count
      let tokens = row.tokens[index * cache.pageTokens..<(index + 1) * cache.pageTokens]
      guard
        let number = prefixes.insert(
          tokens, after: row.chain, scope: row.scope, page: { sequence.page(index) })
      else { return }
      row.chain.append(number)
    }
  }

  // MARK: - Computing

  private struct Piece {
    let row: GenerationRow
    let input: DecoderInput
    let givesToken: Bool
  }

  /// One packed forward pass, and the next token of each row that is there.
  private func compute(_ pieces: [Piece], primary: ResidentSubspace?, arena: Arena) {
    let hidden = decoder.forward(
      pieces.map(\.input), patch: patch(pieces, primary: primary), arena: arena)
    for piece in pieces { keepPages(of: piece.row) }
    let chosen = pieces.count { $0.givesToken }
    guard chosen > 0 else { return }
    let last = arena.matrix(chosen, hidden.columns)
    var (next, end) = (0, 0)
    for piece in pieces {
      end += piece.input.tokens.count
      guard piece.givesToken else { continue }
      last.rows(next..<next + 1).copy(from: hidden.rows(end - 1..<end))
      next += 1
    }
    let scores = decoder.logits(last, arena: arena)
    for (index, piece) in pieces.lazy.filter(\.givesToken).enumerated() {
      let row = UnsafeMutableBufferPointer(start: scores.row(index), count: scores.columns)
      counts.generatedTokens += 1
      planner.extend(piece.row.id)
      if let reason = piece.row.advance(row) { self.end(piece.row.id, reason) }
    }
  }

  private func patch(_ pieces: [Piece], primary: ResidentSubspace?) -> BatchPatch? {
    guard pieces.contains(where: { $0.row.request.adapter != nil }) else { return nil }
    var groups: [RowGroup] = []
    var (start, end) = (0, 0)
    for (index, piece) in pieces.enumerated() {
      end += piece.input.tokens.count
      let request = piece.row.request
      if index + 1 < pieces.count, pieces[index + 1].row.request.adapter === request.adapter { continue }
      groups.append(RowGroup(rows: start..<end, adapter: request.adapter, subspace: request.subspace))
      start = end
    }
    return BatchPatch(sites: decoder.sites, groups: groups, primary: primary)
  }
}
