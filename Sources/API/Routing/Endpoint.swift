/// Every operation; the raw value is its `operationId` in `openapi.yaml`.
enum Endpoint: String, CaseIterable, Sendable {
  case getLivez, getReadyz, getMetrics, getContract, getContractJSON, getBase
  case listSubspaces, createSubspace, getSubspace
  case listAdapters, getAdapter, deleteAdapter, getAdapterVersion, deleteAdapterVersion
  case inferAdapter, activateAdapter, rollbackAdapter
  case infer
  case listDatasets, createDataset, getDataset, deleteDataset
  case train
  case listJobs, getJob, getJobEvents, cancelJob, pauseJob, resumeJob
  case listModels, getModel, deleteModel
  case createCompletion, createChatCompletion, createEmbeddings
  case listFiles, createFile, getFile, getFileContent, deleteFile
  case listFineTuningJobs, createFineTuningJob, getFineTuningJob, listFineTuningEvents
  case listFineTuningCheckpoints, cancelFineTuningJob, pauseFineTuningJob, resumeFineTuningJob

  /// Method and path, as the contract writes them.
  var route: (method: String, path: String) {
    switch self {
    case .getLivez: ("GET", "/livez")
    case .getReadyz: ("GET", "/readyz")
    case .getMetrics: ("GET", "/metrics")
    case .getContract: ("GET", "/openapi.yaml")
    case .getContractJSON: ("GET", "/openapi.json")
    case .getBase: ("GET", "/base")
    case .listSubspaces: ("GET", "/subspaces")
    case .createSubspace: ("POST", "/subspaces")
    case .getSubspace: ("GET", "/subspaces/{id}")
    case .listAdapters: ("GET", "/adapters")
    case .getAdapter: ("GET", "/adapters/{task}")
    case .deleteAdapter: ("DELETE", "/adapters/{task}")
    case .getAdapterVersion: ("GET", "/adapters/{task}/versions/{version}")
    case .deleteAdapterVersion: ("DELETE", "/adapters/{task}/versions/{version}")
    case .inferAdapter: ("POST", "/adapters/{task}/infer")
    case .activateAdapter: ("POST", "/adapters/{task}/activate")
    case .rollbackAdapter: ("POST", "/adapters/{task}/rollback")
    case .infer: ("POST", "/infer")
    case .listDatasets: ("GET", "/datasets")
    case .createDataset: ("POST", "/datasets")
    case .getDataset: ("GET", "/datasets/{id}")
    case .deleteDataset: ("DELETE", "/datasets/{id}")
    case .train: ("POST", "/train")
    case .listJobs: ("GET", "/jobs")
    case .getJob: ("GET", "/jobs/{id}")
    case .getJobEvents: ("GET", "/jobs/{id}/events")
    case .cancelJob: ("POST", "/jobs/{id}/cancel")
    case .pauseJob: ("POST", "/jobs/{id}/pause")
    case .resumeJob: ("POST", "/jobs/{id}/resume")
    case .listModels: ("GET", "/v1/models")
    case .getModel: ("GET", "/v1/models/{model}")
    case .deleteModel: ("DELETE", "/v1/models/{model}")
    case .createCompletion: ("POST", "/v1/completions")
    case .createChatCompletion: ("POST", "/v1/chat/completions")
    case .createEmbeddings: ("POST", "/v1/embeddings")
    case .listFiles: ("GET", "/v1/files")
    case .createFile: ("POST", "/v1/files")
    case .getFile: ("GET", "/v1/files/{id}")
    case .getFileContent: ("GET", "/v1/files/{id}/content")
    case .deleteFile: ("DELETE", "/v1/files/{id}")
    case .listFineTuningJobs: ("GET", "/v1/fine_tuning/jobs")
    case .createFineTuningJob: ("POST", "/v1/fine_tuning/jobs")
    case .getFineTuningJob: ("GET", "/v1/fine_tuning/jobs/{id}")
    case .listFineTuningEvents: ("GET", "/v1/fine_tuning/jobs/{id}/events")
    case .listFineTuningCheckpoints: ("GET", "/v1/fine_tuning/jobs/{id}/checkpoints")
    case .cancelFineTuningJob: ("POST", "/v1/fine_tuning/jobs/{id}/cancel")
    case .pauseFineTuningJob: ("POST", "/v1/fine_tuning/jobs/{id}/pause")
    case .resumeFineTuningJob: ("POST", "/v1/fine_tuning/jobs/{id}/resume")
    }
  }

  /// Probes answer without a key.
  var needsKey: Bool { self != .getLivez && self != .getReadyz }
}
