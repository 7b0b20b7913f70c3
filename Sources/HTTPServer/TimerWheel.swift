/// Deadlines in slots of one tick: scheduling is constant time, and an entry is reported early where its time lies beyond
/// the wheel (never late by more than a tick), so its owner compares the time and schedules again. No clock of its own:
/// times are nanoseconds.
struct TimerWheel {
  static let tickNanoseconds: Int64 = 8_000_000
  private static let slotCount = 1024

  private var slots = [[UInt64]](repeating: [], count: slotCount)
  private var occupied = [UInt64](repeating: 0, count: slotCount / 64)
  private var tick: Int64
  private(set) var count = 0

  init(now: Int64) { tick = now / TimerWheel.tickNanoseconds }

  /// When an entry for `time`, made now, is reported: the first `advance` that reaches it does.
  func report(of time: Int64) -> Int64 {
    let wanted = (time + TimerWheel.tickNanoseconds - 1) / TimerWheel.tickNanoseconds
    return max(tick + 1, min(wanted, tick + Int64(TimerWheel.slotCount) - 1)) * TimerWheel.tickNanoseconds
  }

  /// Reports `token` at `time` or, when that lies beyond the wheel, earlier.
  mutating func schedule(_ token: UInt64, at time: Int64) {
    let slot = Int(report(of: time) / TimerWheel.tickNanoseconds % Int64(TimerWheel.slotCount))
    slots[slot].append(token)
    occupied[slot / 64] |= 1 << UInt64(slot % 64)
    count += 1
  }

  /// Takes out the tokens due at `now`.
  mutating func advance(to now: Int64, into due: inout [UInt64]) {
    let target = now / TimerWheel.tickNanoseconds
    guard count > 0 else {
      tick = max(tick, target)
      return
    }
    let steps = min(target - tick, Int64(TimerWheel.slotCount))
    if steps <= 0 { return }
    for step in 1...steps {
      let slot = Int((tick + step) % Int64(TimerWheel.slotCount))
      if slots[slot].isEmpty { continue }
      due.append(contentsOf: slots[slot])
      count -= slots[slot].count
      slots[slot].removeAll(keepingCapacity: true)
      occupied[slot / 64] &= ~(1 << UInt64(slot % 64))
    }
    tick = target
  }

  /// Milliseconds until the next entry may be due, nil without entries.
  func wait(now: Int64) -> Int64? {
    guard count > 0 else { return nil }
    let first = Int((tick + 1) % Int64(TimerWheel.slotCount))
    var distance = 0
    while distance < TimerWheel.slotCount {
      let slot = (first + distance) % TimerWheel.slotCount
      let word = occupied[slot / 64] >> UInt64(slot % 64)
      if word != 0 {
        let due = (tick + 1 + Int64(distance + word.trailingZeroBitCount)) * TimerWheel.tickNanoseconds
        return max(0, (due - now + 999_999) / 1_000_000)
      }
      distance += 64 - slot % 64
    }
    return nil
  }
}
