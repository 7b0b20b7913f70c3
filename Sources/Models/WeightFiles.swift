internal import Digests
internal import Foundation
internal import Safetensors

/// A tensor and the mapped file that it lies in.
struct StoredTensor: Sendable {
  let file: SafetensorsFile
  let entry: TensorEntry

  var name: String { entry.name }
  var shape: [Int] { entry.shape }
  var elementType: ElementType { entry.elementType }
  var elementCount: Int { entry.elementCount }

  /// Converts some elements straight from the mapping.
  func copyFloats(elements: Range<Int>, into output: UnsafeMutablePointer<Float>) {
    file.copyFloats(of: entry, elements: elements, into: output)
  }

  /// Gives the mapping's pages back to the system.
  func releasePages() { file.releasePages(of: entry) }
}

/// The mapped weights of a folder: model.safetensors, or the shards that model.safetensors.index.json names.
struct WeightFiles: Sendable {
  /// Shards in the order of their names.
  private let files: [SafetensorsFile]
  private let positions: [String: Int]

  static let single = "model.safetensors"
  static let index = "model.safetensors.index.json"
  private static let limitShards = 1024

  /// - Throws: `.weights` or `.shard` for a file that cannot be read, `.malformed` for an index that is none,
  ///   `.missingTensor` for one that the index promises.
  init(directory: String) throws(ModelError) {
    let single = directory + "/" + Self.single
    let index: [UInt8]
    do throws(ModelError) {
      // A single file wins, as in transformers.
      index = access(single, F_OK) == 0 ? [] : try FolderFile.read(Self.index, in: directory)
    } catch .unreadable(_, ENOENT) {
      index = []
    }
    guard !index.isEmpty else {
      let file: SafetensorsFile
      do throws(SafetensorsError) {
        file = try SafetensorsFile(path: single)
      } catch {
        throw .weights(error)
      }
      files = [file]
      positions = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, 0) })
      return
    }
    (files, positions) = try Self.shards(index, in: directory)
  }

  private static func shards(
    _ json: [UInt8], in directory: String
  ) throws(ModelError) -> ([SafetensorsFile], [String: Int]) {
    let shardOf = try ConfigJSON.decode(IndexFields.self, json, file: index).shards
    let names = Set(shardOf.values).sorted()
    guard (1...limitShards).contains(names.count), names.allSatisfy(isPlainName) else {
      throw .malformed(file: index, field: "weight_map")
    }
    var files: [SafetensorsFile] = []
    for name in names {
      do throws(SafetensorsError) {
        files.append(try SafetensorsFile(path: directory + "/" + name))
      } catch {
        throw .shard(file: name, error)
      }
    }
    let places = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
    var positions: [String: Int] = [:]
    for (tensor, name) in shardOf.sorted(by: { $0.key < $1.key }) {
      guard let place = places[name], files[place].entry(tensor) != nil else {
        throw .missingTensor(name: tensor)
      }
      positions[tensor] = place
    }
    return (files, positions)
  }

  /// A shard lies in the folder itself: the index comes from outside and must not name other places.
  private static func isPlainName(_ name: String) -> Bool {
    name.hasSuffix(".safetensors") && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
  }

  func tensor(_ name: String) -> StoredTensor? {
    guard let position = positions[name], let entry = files[position].entry(name) else { return nil }
    return StoredTensor(file: files[position], entry: entry)
  }

  /// SHA-256 of the files in their order, followed by config.json.
  func digest(_ config: [UInt8]) -> Digest {
    var stream = SHA256Stream()
    for file in files {
      file.withFileBytes { stream.update($0) }
      file.releaseAllPages()
    }
    stream.update(config)
    return stream.finalize()
  }

  private struct IndexFields: Decodable {
    let shards: [String: String]

    private enum CodingKeys: String, CodingKey { case shards = "weight_map" }
  }
}

/// A small file of a model folder.
enum FolderFile {
  private static let limitBytes = 1 << 24

  static func read(_ name: String, in directory: String) throws(ModelError) -> [UInt8] {
    guard let file = fopen(directory + "/" + name, "rbe") else {
      throw .unreadable(file: name, code: errno)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= limitBytes else { throw .malformed(file: name, field: nil) }
    }
    // A folder opens like a file and fails at its first read.
    guard ferror(file) == 0 else { throw .unreadable(file: name, code: errno) }
    return bytes
  }

  /// Nil where there is no such file.
  static func readIfPresent(_ name: String, in directory: String) throws(ModelError) -> [UInt8]? {
    do throws(ModelError) {
      return try read(name, in: directory)
    } catch .unreadable(_, ENOENT) {
      return nil
    }
  }
}
