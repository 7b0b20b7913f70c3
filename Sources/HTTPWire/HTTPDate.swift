/// Dates of HTTP fields (RFC 9110 §5.6.7), as seconds since 1970-01-01 UTC.
public enum HTTPDate {
  private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`. Years 1970 to 9999.
  public static func format(_ seconds: Int64) -> String {
    let day = Int(seconds / 86_400)
    let time = Int(seconds % 86_400)
    let (year, month, date) = civil(day)
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(days[(day + 4) % 7]), \(two(date)) \(months[month - 1]) \(year) "
      + "\(two(time / 3600)):\(two(time / 60 % 60)):\(two(time % 60)) GMT"
  }

  /// Reads IMF-fixdate, and the obsolete RFC 850 and asctime forms; nil for anything else.
  ///
  /// - Parameter now: decides the century of a two-digit year: more than 50 years ahead means the past.
  public static func parse(_ text: String, now: Int64) -> Int64? {
    let parts = text.split(separator: " ").map(String.init)
    if parts.count == 6, parts[0].hasSuffix(","), parts[5] == "GMT", text.utf8.count == 29 {
      return seconds(parts[3], parts[2], parts[1], parts[4])
    }
    if parts.count == 4, parts[0].hasSuffix(","), parts[3] == "GMT" {
      let date = parts[1].split(separator: "-").map(String.init)
      guard date.count == 3, date[2].utf8.count == 2, let short = number(date[2]) else { return nil }
      let (current, _, _) = civil(Int(now / 86_400))
      var year = current - current % 100 + short
      if year > current + 50 { year -= 100 }
      return seconds("\(year)", date[1], date[0], parts[2])
    }
    if parts.count == 5, days.contains(parts[0]) {
      return seconds(parts[4], parts[1], parts[2], parts[3])
    }
    return nil
  }

  private static func number(_ text: String) -> Int? {
    FieldRules.decimal(Array(text.utf8)[...])
  }

  private static func seconds(_ year: String, _ month: String, _ date: String, _ time: String) -> Int64? {
    let clock = time.split(separator: ":").map(String.init)
    guard year.utf8.count == 4, let year = number(year), let month = months.firstIndex(of: month),
      let date = number(date), (1...31).contains(date), clock.count == 3,
      clock.allSatisfy({ $0.utf8.count == 2 }), let hour = number(clock[0]), hour < 24,
      let minute = number(clock[1]), minute < 60, let second = number(clock[2]), second < 61
    else { return nil }
    let day = dayNumber(year, month + 1, date)
    // The 31st of a short month is no date.
    guard civil(day) == (year, month + 1, date) else { return nil }
    return Int64(day) * 86_400 + Int64(hour * 3600 + minute * 60 + second)
  }

  // Proleptic Gregorian calendar in eras of 400 years that begin on 1 March.
  private static func dayNumber(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let ofEra = shifted - era * 400
    let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
  }

  private static func civil(_ day: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = day + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let ofEra = shifted - era * 146_097
    let year = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * year + year / 4 - year / 100)
    let month = (5 * ofYear + 2) / 153
    let date = ofYear - (153 * month + 2) / 5 + 1
    let civilMonth = month < 10 ? month + 3 : month - 9
    return (year + era * 400 + (civilMonth <= 2 ? 1 : 0), civilMonth, date)
  }
}
