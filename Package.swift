// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
]

/// Modules whose loops run over weights and texts are optimised in debug builds too: tests train and serve a real base.
let hot: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]

/// A module of ours. The import graph is docs/architecture.md's, held by ArchitectureTests.
func module(
  _ name: String, _ dependencies: [Target.Dependency] = [], settings: [SwiftSetting] = strict
) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, path: "Tests/\(name)", swiftSettings: strict)
}

let package = Package(
  name: "corad",
  platforms: [.macOS(.v15)],
  products: [.executable(name: "corad", targets: ["corad"])],
  dependencies: [
    // Commands, flags and help.
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    // One precedence for flags, environment and file.
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
    // Structured logs.
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    // SQLite in WAL with a typed, serialised writer.
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    // Start and stop order.
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    // Heaps, deques and ordered maps.
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    // openapi.yaml as JSON.
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // System libraries, system calls and SIMD kernels.
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .target(name: "CPlatform"),
    // The file at the root is the one truth.
    .target(name: "CContract"),
    // Kernels are compiled for speed in debug builds too: tests run real models through them.
    .target(
      name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno"])]),

    module("Digests", ["COpenSSL"], settings: hot),
    module("Safetensors", settings: hot),
    module("Tokenizers", settings: hot),
    module("Tensors", ["CKernels", "COpenBLAS"], settings: hot),
    module("Models", ["Tensors", "Safetensors", "Digests"], settings: hot),
    module("Adapters", ["Models", "Tensors", "Safetensors", "Digests"], settings: hot),
    module("Training", ["Adapters", "Models", "Tensors", "Tokenizers"], settings: hot),
    module(
      "Engine", ["Scheduling", "Training", "Adapters", "Models", "Tensors", "Tokenizers"], settings: hot),
    module(
      "Scheduling",
      [
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
      ]),
    module("Store", [.product(name: "GRDB", package: "GRDB.swift")]),
    module(
      "Serving",
      [
        "Scheduling", "Engine", "Training", "Adapters", "Models", "Store", "Tokenizers", "Digests",
        .product(name: "Logging", package: "swift-log"),
      ]),
    module("HTTPWire"),
    module("HTTPServer", ["HTTPWire", "COpenSSL", "CPlatform"]),
    module("HTTPClient", ["HTTPWire", "COpenSSL", "CPlatform"]),
    module(
      "API",
      [
        "Serving", "Training", "Adapters", "Models", "HTTPWire", "Digests",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Yams", package: "Yams"),
      ]),
    .executableTarget(
      name: "corad",
      dependencies: [
        "API", "HTTPServer", "HTTPClient", "HTTPWire", "Serving", "CContract", "CPlatform",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: strict),

    // One subcommand per claim of docs/benchmarks.md.
    .executableTarget(
      name: "corad-bench",
      dependencies: [
        "API", "HTTPServer", "HTTPClient", "HTTPWire", "Serving", "Engine", "Training", "Adapters", "Models",
        "Tensors", "Tokenizers", "Digests", "COpenBLAS",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      path: "Tests/Benchmarks/CoradBench", swiftSettings: strict),
    .target(
      name: "TestSupport", dependencies: ["Models", "Safetensors"], path: "Tests/Support", swiftSettings: hot),
    // The binary as a child process.
    .target(
      name: "DaemonSupport", dependencies: ["HTTPClient", "HTTPWire"], path: "Tests/DaemonSupport",
      swiftSettings: strict),
    tests("DigestsTests", ["Digests"]),
    tests("HTTPWireTests", ["HTTPWire"]),
    tests("HTTPServerTests", ["HTTPServer", "HTTPClient", "HTTPWire"]),
    tests("HTTPClientTests", ["HTTPClient", "HTTPServer", "HTTPWire"]),
    tests("TensorsTests", ["Tensors", "CKernels"]),
    tests("SafetensorsTests", ["Safetensors"]),
    tests("ModelsTests", ["Models", "Safetensors", "Tensors", "Digests", "TestSupport"]),
    tests("AdaptersTests", ["Adapters", "Models", "Tensors", "Safetensors", "Digests", "TestSupport"]),
    tests(
      "TrainingTests",
      ["Training", "Adapters", "Models", "Tensors", "Safetensors", "Digests", "Tokenizers", "TestSupport"]),
    tests("TokenizersTests", ["Tokenizers"]),
    tests("ArchitectureTests", []),
    tests(
      "APITests",
      [
        "API", "Serving", "Training", "Adapters", "Models", "HTTPWire", "Digests",
        .product(name: "Logging", package: "swift-log"),
      ]),
    // The binary is run, hence built first.
    tests(
      "ContractTests",
      ["API", "HTTPClient", "HTTPWire", "Store", "Digests", "TestSupport", "DaemonSupport", "corad"]),
    tests("StoreTests", ["Store", .product(name: "GRDB", package: "GRDB.swift")]),
    tests("SchedulingTests", ["Scheduling"]),
    tests(
      "EngineTests",
      ["Engine", "Scheduling", "Adapters", "Models", "Tensors", "Tokenizers", "Safetensors", "Digests"]),
    tests(
      "ServingTests",
      [
        "Serving", "Engine", "Training", "Adapters", "Models", "Store", "Tokenizers", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
    // The binary beside the test bundle, over real sockets.
    tests(
      "EndToEndTests",
      [
        "Store", "Serving", "HTTPClient", "HTTPServer", "HTTPWire", "Digests", "TestSupport", "DaemonSupport",
        .product(name: "GRDB", package: "GRDB.swift"),
      ]),
  ]
)
