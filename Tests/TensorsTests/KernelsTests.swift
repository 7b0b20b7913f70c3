import Testing

@testable import Tensors

@Test func kernelsAreChosen() { #expect(["avx2", "avx512", "scalar"].contains(Kernels.instructionSet)) }
