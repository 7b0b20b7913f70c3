/// Runs long pure work away from the connection's loop.
func offLoop<Value: Sendable>(
  if isLong: Bool, _ work: @escaping @Sendable () throws(Problem) -> Value
) async throws(Problem) -> Value {
  guard isLong else { return try work() }
  return try await offLoop { () async throws(Problem) in try work() }
}

/// Runs work that is long between its waits away from the connection's loop.
///
/// The work is itself `@concurrent`: a function that only passes on to it would be compiled without the hop.
func offLoop<Value: Sendable>(
  _ work: @escaping @concurrent @Sendable () async throws(Problem) -> Value
) async throws(Problem) -> Value {
  try await withTaskExecutorPreference(globalConcurrentExecutor) { () async throws(Problem) -> Value in
    try await work()
  }
}
