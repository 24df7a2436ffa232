//go:build !amd64

package kernel

import "github.com/x448/float16"

const hasSIMD = false

// Without assembly, each of these says that it did nothing.

func convHalfSIMD([]float32, []float16.Float16, []float32, int, int, int) bool { return false }

func dequantizeSIMD([]float32, []int8, float32) int { return 0 }

func multiplySIMD([]lanes, []float32, []float32, int) {}

func totalsSIMD(*[group]float32, *[group]lanes) {}

func denseRowSIMD([]float32, []float32, []float32, int) int { return 0 }

func allFiniteSIMD([]float32) (int, bool) { return 0, true }

func addSIMD([]float32, []float32, []float32) int { return 0 }

func subSIMD([]float32, []float32, []float32) int { return 0 }

func mulSIMD([]float32, []float32, []float32) int { return 0 }

func addScalarSIMD([]float32, []float32, float32) int { return 0 }

func mulScalarSIMD([]float32, []float32, float32) int { return 0 }
