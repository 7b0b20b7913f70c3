/// OpenAI's times: whole seconds since 1970.
enum UnixTime {
  /// Of an RFC 3339 time in UTC, as the core writes it; nil where the text has another form.
  static func seconds(_ text: String) -> Int? {
    let parts = text.utf8.split(omittingEmptySubsequences: false) { !isDigit($0) }.map { Int(Substring($0)) }
    guard parts.count >= 7, let year = parts[0], let month = parts[1], let day = parts[2],
      let hour = parts[3],
      let minute = parts[4], let second = parts[5]
    else { return nil }
    // Days from a civil date, Howard Hinnant's algorithm: the year starts in March.
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted / 400
    let ofEra = shifted - era * 400
    let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let days = era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
    return days * 86_400 + hour * 3_600 + minute * 60 + second
  }
}
