package import Adapters
package import Engine
package import Tokenizers

/// The costly steps of an answer, and a place to see which version it leases. Values, so that a benchmark can measure
/// what is around them.
package struct InferenceStages: Sendable {
  package typealias Compute =
    @Sendable (
      _ parts: [InferencePart], _ done: @escaping @Sendable ([Prediction]) -> Void
    ) -> Void

  /// The texts of a request, each cut at `limit` tokens.
  package var encode: @Sendable (_ inputs: InferenceInputs, _ limit: Int) -> [Encoding]
  /// Parts sorted by subspace and task; `done` gets a prediction for each of their rows, in order, from any thread.
  package var compute: Compute
  /// Called with every version that a request leases.
  package var leased: @Sendable (_ task: String, _ version: Int) -> Void = { _, _ in }
}

/// Neighbouring rows of one request that one version answers.
package struct InferencePart: Sendable {
  let task: String
  let adapter: ResidentAdapter?
  let subspace: ResidentSubspace?
  let subspaceDigest: String
  let normalize: Bool
  /// The request's rows, and which of them.
  let encodings: [Encoding]
  var range: Range<Int>

  /// What a lane runs.
  package var rows: some Sequence<BatchRow> {
    encodings[range].lazy.map { encoding in
      BatchRow(
        ids: encoding.ids, typeIDs: encoding.typeIDs, adapter: adapter, subspace: subspace,
        normalize: normalize)
    }
  }

  package var count: Int { range.count }

  var tokens: Int { range.reduce(0) { $0 + tokens($1) } }

  func tokens(_ row: Int) -> Int { encodings[row].ids.count }
}
