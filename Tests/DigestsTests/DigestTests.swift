import Digests
import Testing

@Suite struct DigestTests {
  // FIPS 180-4 examples.
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
  ])
  func knownDigests(text: String, hex: String) {
    #expect(Digest.sha256(of: text).hex == hex)
    #expect(Digest.sha256(of: Array(text.utf8)).description == "sha256:" + hex)
  }

  @Test func textRoundTripsAndOtherFormsAreRefused() {
    let digest = Digest.sha256(of: "corad")
    #expect(Digest(digest.description) == digest)
    #expect(Digest(bytes: digest.bytes) == digest)
    #expect(Digest(digest.hex) == nil)
    #expect(Digest(digest.description.uppercased()) == nil)
    #expect(Digest(String(digest.description.dropLast())) == nil)
    #expect(Digest("sha256:" + String(repeating: "g", count: 64)) == nil)
  }

  @Test func piecesGiveTheSameAsTheWhole() {
    var stream = SHA256Stream()
    stream.update(Array("a".utf8))
    var branch = stream
    stream.update(Array("bc".utf8))
    branch.update(Array("x".utf8))
    #expect(stream.finalize() == Digest.sha256(of: "abc"))
    #expect(branch.finalize() == Digest.sha256(of: "ax"))
    stream.update(Array("d".utf8))
    #expect(stream.finalize() == Digest.sha256(of: "abcd"))
  }

  @Test func orderIsByteOrder() {
    var low = [UInt8](repeating: 0, count: 32)
    var high = low
    low[31] = 255
    high[0] = 1
    #expect(Digest(bytes: low) < Digest(bytes: high))
  }

  // RFC 4231 §4.3, test case 2.
  @Test func knownHMAC() {
    let tag = Digest.hmacSHA256(key: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8))
    #expect(tag.hex == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
  }

  @Test func constantTimeComparison() {
    #expect(constantTimeEquals([1, 2, 3], [1, 2, 3]))
    #expect(!constantTimeEquals([1, 2, 3], [1, 2, 4]))
    #expect(!constantTimeEquals([1, 2, 3], [1, 2]))
    #expect(constantTimeEquals([], []))
  }

  @Test func randomBytesDiffer() {
    #expect(RandomBytes.make(count: 16).count == 16)
    #expect(RandomBytes.make(count: 16) != RandomBytes.make(count: 16))
  }
}
