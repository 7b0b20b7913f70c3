package import Adapters
package import Engine
package import Tokenizers

/// The costly steps of an answer, and a place to see which version it leases. Values, so that a benchmark can measure
/// what is around them.
package struct InferenceStages: Sendable {
  package typealias Compute =
    @Sendable (
      _ rows: [BatchRow], _ done: @escaping @Sendable ([Prediction]) -> Void
    ) -> Void

  /// A text cut at `limit` tokens.
  package var encode: @Sendable (_ input: InferenceInput, _ limit: Int) -> Encoding
  /// Rows sorted by task; `done` gets a prediction for each, in order, from any thread.
  package var compute: Compute
  /// Called with every version that a request leases.
  package var leased: @Sendable (_ task: String, _ version: Int) -> Void = { _, _ in }
}
