package reference

import (
	"lockstep/coreml"
	"lockstep/internal/mlpackage"
)

// NewPackage opens a package that is in memory.
func (p Plane) NewPackage(files *mlpackage.Package) (coreml.Package, error) {
	return p.newPackage(files)
}
