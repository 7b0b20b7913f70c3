#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

extension LearningRateSchedule {
  /// The factor of the peak rate at a step, counted from 0. Warm-up rises linearly and reaches 1 at its last step; what
  /// follows falls from 1 towards 0 without reaching it.
  func factor(step: Int, total: Int, warmup: Float) -> Float {
    let rising = Int((warmup * Float(total)).rounded(.up))
    if step < rising { return Float(step + 1) / Float(rising) }
    let share = Double(step - rising) / Double(max(total - rising, 1))
    return switch self {
    case .constant: 1
    case .linear: Float(1 - share)
    case .cosine: Float((1 + cos(.pi * share)) / 2)
    }
  }
}
