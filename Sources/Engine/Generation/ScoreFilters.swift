internal import Foundation

/// What changes scores `[vocabulary]` before a token is chosen, each in place, in the order of this file. A token that
/// may not be chosen has -∞.
///
/// They give what transformers' logits processors of the same names give; Tests/Goldens/record_samplers.py records those.
enum ScoreFilters {
  typealias Scores = UnsafeMutableBufferPointer<Float>

  /// scores[id] += bias; transformers' SequenceBias of single tokens, and OpenAI's logit_bias.
  static func bias(_ scores: Scores, _ bias: [Int32: Float]) {
    for (id, value) in bias where Int(id) < scores.count { scores[Int(id)] += value }
  }

  /// A positive score is divided by the penalty, another one multiplied (Keskar and others, arXiv 1909.05858).
  static func repetition(_ scores: Scores, of ids: Set<Int32>, penalty: Float) {
    guard penalty != 1 else { return }
    for id in ids where Int(id) < scores.count {
      let score = scores[Int(id)]
      scores[Int(id)] = score < 0 ? score * penalty : score / penalty
    }
  }

  /// scores[id] -= count·frequency, then presence where count > 0; OpenAI's two penalties.
  static func presence(_ scores: Scores, counts: [Int32: Int], presence: Float, frequency: Float) {
    guard presence != 0 || frequency != 0 else { return }
    for (id, count) in counts where Int(id) < scores.count {
      scores[Int(id)] -= Float(count) * frequency
      scores[Int(id)] -= presence
    }
  }

  static func temperature(_ scores: Scores, _ temperature: Float) {
    guard temperature != 1 else { return }
    for index in scores.indices { scores[index] /= temperature }
  }

  /// Leaves the k best, and all that equal the last of them.
  static func topK(_ scores: Scores, _ k: Int) {
    guard k > 0, k < scores.count else { return }
    let best = leaders(scores) { $0.count >= k }
    // Fewer than k are numbers.
    guard best.count >= k else { return }
    let least = best[k - 1].score
    for index in scores.indices where scores[index] < least { scores[index] = -.infinity }
  }

  /// Leaves the best tokens before which less than p of the probability lies (Holtzman and others, arXiv 1904.09751):
  /// at least one. Of equal scores the greater id counts as better; transformers leaves that to an unstable sort.
  static func topP(_ scores: Scores, _ p: Float) {
    guard p < 1, let top = scores.max(), top.isFinite else { return }
    let whole = scores.reduce(into: 0.0) { $0 += weight($1, top) }
    guard whole.isFinite else { return }
    let reached = Double(p) * whole
    let best = leaders(scores) { $0.reduce(into: 0.0) { $0 += weight($1.score, top) } >= reached }
    var before = 0.0
    var kept = 0
    while kept < best.count, kept == 0 || before < reached {
      before += weight(best[kept].score, top)
      kept += 1
    }
    let last = best[kept - 1]
    for index in scores.indices
    where scores[index] < last.score || (scores[index] == last.score && index < last.id) {
      scores[index] = -.infinity
    }
  }

  /// Leaves tokens whose probability is at least p times the best one's (Nguyen and others, arXiv 2407.01082).
  static func minP(_ scores: Scores, _ p: Float) {
    guard p > 0, let top = scores.max(), top.isFinite else { return }
    for index in scores.indices where exp(scores[index] - top) < p && scores[index] < top {
      scores[index] = -.infinity
    }
  }

  /// The probability up to a factor; 0 for -∞.
  static func weight(_ score: Float, _ top: Float) -> Double { Double(exp(score - top)) }

  /// The scores nearest to the best one, deeper and deeper until there are enough; sorted, greatest first, of equal ones
  /// the greatest id first. A whole vocabulary is sorted only where its scores are flat.
  private static func leaders(
    _ scores: Scores, enough: ([(score: Float, id: Int)]) -> Bool
  ) -> [(score: Float, id: Int)] {
    guard let top = scores.max(), top.isFinite else {
      return scores.enumerated().map { ($0.element, $0.offset) }.reversed()
    }
    var (depth, least): (Float, Float) = (4, top)
    var found: [(score: Float, id: Int)] = []
    repeat {
      found.removeAll(keepingCapacity: true)
      least = depth < 1_000 ? top - depth : -.infinity
      for index in scores.indices where scores[index] >= least { found.append((scores[index], index)) }
      depth *= 2
    } while !enough(found) && least > -.infinity
    return found.sorted { ($0.score, $0.id) > ($1.score, $1.id) }
  }
}
