package mlpackage

// The files of a package, relative to its directory and with forward slashes.
const (
	ManifestPath = "Manifest.json"
	ModelPath    = "Data/com.apple.CoreML/model.mlmodel"
	WeightsPath  = "Data/com.apple.CoreML/weights/weight.bin"
)

// WeightsReference is the file name by which a program refers to its weight
// file.
const WeightsReference = "@model_path/weights/weight.bin"
