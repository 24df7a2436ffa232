package native

import (
	"fmt"
	"maps"
	"slices"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
)

// Core ML's numbers, of its headers.
const (
	computeUnitsCPUOnly            = 0
	computeUnitsCPUAndNeuralEngine = 3
	dataTypeFloat16                = 0x10010
	featureTypeMultiArray          = 5
	featureTypeState               = 8
)

// signature reads a loaded model's description: its features by name, sorted,
// since Core ML keeps them in dictionaries.
func (s *scope) signature(model objc.ID) coreml.Signature {
	d := s.object(model, "MLModel modelDescription")
	return coreml.Signature{
		Inputs:  s.features("input", s.object(d, "MLModelDescription inputDescriptionsByName"), featureTypeMultiArray),
		Outputs: s.features("output", s.object(d, "MLModelDescription outputDescriptionsByName"), featureTypeMultiArray),
		States:  s.features("state", s.object(d, "MLModelDescription stateDescriptionsByName"), featureTypeState),
	}
}

func (s *scope) features(kind string, byName objc.ID, featureType int) []coreml.Feature {
	descriptions := s.entries(byName)
	var features []coreml.Feature
	for _, name := range slices.Sorted(maps.Keys(descriptions)) {
		id := descriptions[name]
		if found := s.integer(id, "MLFeatureDescription type"); s.err == nil && found != featureType {
			s.fail(fmt.Errorf("%w: %s %q: want the feature type %d, found %d", ErrDescription, kind, name, featureType, found))
		}
		shape, dataType := s.constraint(id, featureType)
		if s.err == nil && dataType != dataTypeFloat16 {
			s.fail(fmt.Errorf("%w: %s %q: want float16 (%#x), found data type %#x", ErrDescription, kind, name, dataTypeFloat16, dataType))
		}
		if s.err == nil && slices.ContainsFunc(shape, func(d int) bool { return d < 1 }) {
			s.fail(fmt.Errorf("%w: %s %q: want a static shape, found %v", ErrDescription, kind, name, shape))
		}
		features = append(features, coreml.Feature{Name: name, Shape: shape})
	}
	return features
}

// constraint reads the shape and the data type of a feature.
func (s *scope) constraint(id objc.ID, featureType int) (shape []int, dataType int) {
	if featureType == featureTypeState {
		c := s.object(id, "MLFeatureDescription stateConstraint")
		return s.goNumbers(s.object(c, "MLStateConstraint bufferShape")), s.integer(c, "MLStateConstraint dataType")
	}
	c := s.object(id, "MLFeatureDescription multiArrayConstraint")
	return s.goNumbers(s.object(c, "MLMultiArrayConstraint shape")), s.integer(c, "MLMultiArrayConstraint dataType")
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
