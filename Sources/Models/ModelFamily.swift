/// What a model is, as far as tasks care: who sees whom, and which sites there are.
public enum ModelFamily: String, Sendable, CaseIterable, Codable {
  /// BERT: every token of a sequence sees every other.
  case encoder
  /// Llama: a token sees those before it and itself, so the last one alone has seen the whole text.
  case decoder

  /// The sites of a layer, in the order of their indices.
  public var siteKinds: [SiteKind] {
    switch self {
    case .encoder: SiteKind.encoder
    case .decoder: SiteKind.decoder
    }
  }

  /// What a site is called in requests and answers: its role on an encoder (`query`), its module's name on a decoder
  /// (`q_proj`), as users of either know it.
  public func name(of kind: SiteKind) -> String {
    switch self {
    case .encoder: kind.rawValue
    case .decoder: kind.decoderPath.split(separator: ".").last.map(String.init) ?? kind.rawValue
    }
  }

  /// Names of several sites at once.
  public enum SiteGroup: String, Sendable, CaseIterable {
    /// Query, key, value and the attention's output.
    case attention
    /// The projections of the feed-forward part.
    case feedForward = "feed_forward"
    case all
  }

  public func siteKinds(in group: SiteGroup) -> [SiteKind] {
    let attention: Set<SiteKind> = [.query, .key, .value, .attentionOutput]
    return siteKinds.filter { kind in
      switch group {
      case .attention: attention.contains(kind)
      case .feedForward: !attention.contains(kind)
      case .all: true
      }
    }
  }

  /// The sites that a request names: one by `name(of:)` or by its role, or a group. Nil for what this family does not
  /// have.
  public func siteKinds(named name: String) -> [SiteKind]? {
    if let group = SiteGroup(rawValue: name) { return siteKinds(in: group) }
    return siteKinds.first { name == self.name(of: $0) || name == $0.rawValue }.map { [$0] }
  }

  /// What `siteKinds(named:)` takes, roles that have another name here left out: each site's, then the groups'.
  public var siteNames: [String] { siteKinds.map(name(of:)) + SiteGroup.allCases.map(\.rawValue) }

  /// Every name that some family takes, each once.
  public static let everySiteName: [String] = {
    let names = allCases.flatMap { family in family.siteKinds.map(\.rawValue) + family.siteNames }
    return names.enumerated().filter { names.firstIndex(of: $0.element) == $0.offset }.map(\.element)
  }()
}

extension ModelConfiguration {
  public var family: ModelFamily {
    switch self {
    case .encoder: .encoder
    case .decoder: .decoder
    }
  }
}
