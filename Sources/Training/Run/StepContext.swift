internal import Adapters
internal import Models
internal import Tensors

/// What every shard of one step reads: an immutable snapshot of the parameters, the base, the data.
final class StepContext: Sendable {
  let base: BaseModel
  let set: TrainingSet
  let settings: TrainingSettings
  let layout: ParameterLayout
  let parameters: FrozenFloats
  let scale: Float
  /// The optimiser step that is being computed, for dropout's masks.
  let step: Int
  /// B by site index: the shared one, or this step's own packed copy.
  let columns: [PackedWeights?]

  init(
    base: BaseModel, set: TrainingSet, settings: TrainingSettings, layout: ParameterLayout, values: [Float],
    subspace: ResidentSubspace?, step: Int
  ) {
    self.base = base
    self.set = set
    self.settings = settings
    self.layout = layout
    self.step = step
    scale = settings.alpha / Float(settings.rank)
    let parameters = FrozenFloats(count: values.count) { memory in
      values.withUnsafeBufferPointer { source in
        if let base = source.baseAddress { memory.update(from: base, count: source.count) }
      }
    }
    self.parameters = parameters
    columns = base.sites.indices.map { site in
      guard layout.coefficients[site] != nil else { return nil }
      guard let index = layout.bases[site] else { return subspace?.columns[site] }
      let tensor = layout.tensors[index]
      return PackedWeights(
        rowMajor: parameters.pointer(at: tensor.offset), outputs: tensor.rows, inputs: tensor.columns,
        stride: tensor.columns)
    }
  }

  /// A trained tensor as a view, valid while this object lives.
  func view(_ index: Int) -> MatrixView {
    let tensor = layout.tensors[index]
    return parameters.matrix(at: tensor.offset, rows: tensor.rows, columns: tensor.columns)
  }

  var head: HeadViews {
    func layer(_ indices: (weight: Int, bias: Int)?) -> HeadViews.Layer? {
      indices.map {
        HeadViews.Layer(
          weight: view($0.weight), bias: parameters.pointer(at: layout.tensors[$0.bias].offset))
      }
    }
    return HeadViews(
      pooling: settings.pooling, dense: layer(layout.dense), activation: layout.dense == nil ? nil : .tanh,
      linear: layer(layout.linear))
  }

  /// Views of a gradient buffer laid out as the parameters.
  func headGradients(_ gradients: UnsafeMutablePointer<Float>) -> HeadGradients {
    func layer(_ indices: (weight: Int, bias: Int)?) -> HeadGradients.Layer? {
      indices.map {
        HeadGradients.Layer(
          weight: layout.tensors[$0.weight].view(gradients),
          bias: gradients + layout.tensors[$0.bias].offset)
      }
    }
    return HeadGradients(dense: layer(layout.dense), linear: layer(layout.linear))
  }
}

extension ParameterLayout.Tensor {
  /// This tensor in a buffer laid out as the parameters.
  func view(_ buffer: UnsafeMutablePointer<Float>) -> MatrixView {
    MatrixView(base: buffer + offset, rows: rows, columns: columns, stride: columns)
  }
}
