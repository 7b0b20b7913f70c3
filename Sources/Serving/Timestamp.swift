/// Milliseconds since 1970 as RFC 3339 in UTC, as `2026-01-31T08:05:09.123Z`.
enum Timestamp {
  static func text(_ milliseconds: Int64) -> String {
    let (days, rest) = milliseconds.quotientAndRemainder(dividingBy: 86_400_000)
    // Civil date from days, Howard Hinnant's algorithm: the year starts in March.
    let shifted = days + 719_468
    let era = shifted / 146_097
    let day = shifted - era * 146_097
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365
    let ofYear = day - (365 * year + year / 4 - year / 100)
    let month = (5 * ofYear + 2) / 153
    let dayOfMonth = ofYear - (153 * month + 2) / 5 + 1
    let calendarMonth = month < 10 ? month + 3 : month - 9
    let calendarYear = year + era * 400 + (calendarMonth <= 2 ? 1 : 0)
    let seconds = rest / 1_000
    return
      "\(pad(calendarYear, 4))-\(pad(calendarMonth))-\(pad(dayOfMonth))T\(pad(seconds / 3_600))"
      + ":\(pad(seconds / 60 % 60)):\(pad(seconds % 60)).\(pad(rest % 1_000, 3))Z"
  }

  private static func pad(_ value: Int64, _ width: Int = 2) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }
}
