internal import Digests
internal import Foundation

/// The digest of a file, read in pieces.
public enum FileDigest {
  /// SHA-256 as 64 lower-case hexadecimal digits; nil where the file cannot be read.
  public static func sha256(path: String) -> String? {
    guard let file = FileHandle(forReadingAtPath: path) else { return nil }
    defer { try? file.close() }
    var stream = SHA256Stream()
    do {
      while let piece = try file.read(upToCount: 1 << 20), !piece.isEmpty { stream.update([UInt8](piece)) }
    } catch {
      return nil
    }
    let text = "\(stream.finalize())"
    return String(text.drop { $0 != ":" }.dropFirst())
  }
}
