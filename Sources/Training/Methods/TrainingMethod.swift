public import Adapters
public import Tensors

/// One adapted site as a method sees it.
public struct MethodSite: Sendable {
  public let inputs: Int
  public let outputs: Int
  /// The rank at this site: the one asked for, at most the columns of the subspace there.
  public let rank: Int
  /// The subspace's first `rank` columns, `[outputs, rank]`; nil without a subspace.
  public let shared: Matrix?
}

/// Peak learning rates by group of parameters; a B that trains takes A's.
public struct MethodRates: Sendable, Equatable {
  public let coefficients: Float
  public let head: Float
}

/// A training recipe: where A and B start, which of them train, and what is stored. A folder each.
public protocol TrainingMethod: Sendable {
  /// The name over HTTP and in stored versions.
  static var name: String { get }
  /// Starts from, or serves through, a shared subspace.
  static var needsSubspace: Bool { get }
  /// B is a parameter, and each version stores its own.
  static var trainsBasis: Bool { get }
  /// Weight decay reaches B. Off where B starts from a basis: decay to zero would shrink it.
  static var decaysBasis: Bool { get }
  /// Defaults found by measurement.
  static var learningRates: MethodRates { get }
  /// A at the start, `[rank, inputs]`.
  static func coefficients(_ site: MethodSite, random: inout RandomSource) -> Matrix
  /// B at the start, `[outputs, rank]`, where it trains; nil where the shared one serves.
  static func basis(_ site: MethodSite, random: inout RandomSource) -> Matrix?
  /// What a version stores of the trained factors.
  static func update(coefficients: Matrix, basis: Matrix?) -> SiteUpdate
}

extension TrainingMethod {
  /// Versions of the method carry a B of their own.
  public static var storesPrivateBasis: Bool { trainsBasis }

  public static func update(coefficients: Matrix, basis: Matrix?) -> SiteUpdate {
    SiteUpdate(coefficients: coefficients, privateBasis: basis)
  }
}

/// The methods there are.
public enum TrainingMethods {
  public static let all: [any TrainingMethod.Type] = [CoRA.self, CoRAInit.self, LoRA.self]

  public static func named(_ name: String) -> (any TrainingMethod.Type)? {
    all.first { $0.name.utf8.elementsEqual(name.utf8) }
  }
}
