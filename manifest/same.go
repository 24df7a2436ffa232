package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// The ways in which two records cannot share a directory.
var (
	ErrOtherCheckpoint = errors.New("another checkpoint")
	ErrOtherRecipe     = errors.New("another recipe")
	ErrOtherLayout     = errors.New("another layout")
	ErrOtherPackage    = errors.New("another package of the same range")
	ErrOtherAnchor     = errors.New("another commit for the same anchor")
)

// SameCheckpointAndRecipe checks that two records can share one output
// directory: the config's digest and what follows from it, the digests of the
// tensors that both name, the model's name, the recipe and the layout are
// equal. The error names both sides. Shards of different layers share no
// tensors, so for them the config alone tells.
func SameCheckpointAndRecipe(a, b Record) error {
	if a.Model.ConfigSHA256 != b.Model.ConfigSHA256 {
		return fmt.Errorf("%w: %s with a config of digest %s, %s with %s",
			ErrOtherCheckpoint, a.Model.Name, a.Model.ConfigSHA256, b.Model.Name, b.Model.ConfigSHA256)
	}
	digests := map[string]string{}
	for _, t := range a.Model.Tensors {
		digests[t.Name] = t.SHA256
	}
	for _, t := range b.Model.Tensors {
		if other, ok := digests[t.Name]; ok && other != t.SHA256 {
			return fmt.Errorf("%w: tensor %s has digest %s in one (%s), %s in the other (%s)",
				ErrOtherCheckpoint, t.Name, other, a.Model.Name, t.SHA256, b.Model.Name)
		}
	}
	// Before the model, whose factor on the host's RoPE rows the recipe decides.
	if !equalText(a.Recipe, b.Recipe) {
		return fmt.Errorf("%w: %s", ErrOtherRecipe, firstDifference("recipe", reflect.ValueOf(a.Recipe), reflect.ValueOf(b.Recipe)))
	}
	am, bm := a.Model, b.Model
	am.Tensors, bm.Tensors = nil, nil
	if !equalText(am, bm) {
		return fmt.Errorf("%w: %s", ErrOtherCheckpoint, firstDifference("model", reflect.ValueOf(am), reflect.ValueOf(bm)))
	}
	if !slices.Equal(a.Layout, b.Layout) {
		return fmt.Errorf("%w: %v, %v", ErrOtherLayout, a.Layout, b.Layout)
	}
	return nil
}

// equalText compares what two values are as JSON, where nil and empty lists
// are the same.
func equalText[T any](a, b T) bool {
	return reflect.DeepEqual(filled(reflect.ValueOf(a)).Interface(), filled(reflect.ValueOf(b)).Interface())
}

// firstDifference names the first field, as JSON does, in which two values of
// one type that are not equalText differ, and both its values.
func firstDifference(at string, a, b reflect.Value) string {
	if a.Kind() == reflect.Struct {
		for i := range a.NumField() {
			if !equalText(a.Field(i).Interface(), b.Field(i).Interface()) {
				name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
				return firstDifference(at+"."+name, a.Field(i), b.Field(i))
			}
		}
	}
	return fmt.Sprintf("%s is %s in one, %s in the other", at, shown(a), shown(b))
}

// shown is a value in a message; an empty text is a field that is absent.
func shown(v reflect.Value) string {
	if v.Kind() == reflect.String && v.Len() == 0 {
		return "absent"
	}
	return fmt.Sprint(v)
}

// Merge returns the record of a directory that holds old's packages and
// added's. Both must be of the same checkpoint, recipe and layout. A range that
// both have must be the same package; how added was exported is then kept. An
// anchor that both have must name the same commit.
func Merge(old, added Record) (Record, error) {
	if err := SameCheckpointAndRecipe(old, added); err != nil {
		return Record{}, err
	}
	out := old
	var err error
	if out.Anchors, err = merged(old.Anchors, added.Anchors, compareAnchors, func(a, b Anchor) error {
		if a.Commit != b.Commit {
			return fmt.Errorf("%w: %s is %s, %s", ErrOtherAnchor, a.Tag, a.Commit, b.Commit)
		}
		return nil
	}); err != nil {
		return Record{}, err
	}
	if out.Shards, err = merged(old.Shards, added.Shards, compareShards, func(a, b Shard) error {
		return samePackage(fmt.Sprintf("layers [%d,%d)", a.Start, a.End), a.Package, b.Package)
	}); err != nil {
		return Record{}, err
	}
	if out.LMHead, err = merged(old.LMHead, added.LMHead, compareHeads, func(a, b LMHeadShard) error {
		return samePackage(fmt.Sprintf("LM head rows [%d,%d)", a.Start, a.End), a.Package, b.Package)
	}); err != nil {
		return Record{}, err
	}
	if out.Model.Tensors, err = merged(old.Model.Tensors, added.Model.Tensors, compareTensors, func(_, _ TensorDigest) error {
		return nil // compared above
	}); err != nil {
		return Record{}, err
	}
	if out.Embedding, err = mergedEmbedding(old.Embedding, added.Embedding); err != nil {
		return Record{}, err
	}
	return out, out.Verify()
}

func compareAnchors(a, b Anchor) int       { return strings.Compare(a.Tag, b.Tag) }
func compareTensors(a, b TensorDigest) int { return strings.Compare(a.Name, b.Name) }

func compareShards(a, b Shard) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
}

func compareHeads(a, b LMHeadShard) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
}

// samePackage checks that one range has one package.
func samePackage(of string, a, b Package) error {
	if a.Path != b.Path || a.Digest != b.Digest {
		return fmt.Errorf("%w: %s: %s of digest %s, %s of digest %s", ErrOtherPackage, of, a.Path, a.Digest, b.Path, b.Digest)
	}
	return nil
}

// mergedEmbedding returns the embedding that either side has.
func mergedEmbedding(old, added *Embedding) (*Embedding, error) {
	switch {
	case added == nil:
		return old, nil
	case old == nil || *old == *added:
		return added, nil
	default:
		return nil, fmt.Errorf("%w: embedding %+v, %+v", ErrOtherPackage, *old, *added)
	}
}

// merged returns the sorted union of two lists; where both have an element that
// compares equal, agree decides whether that is an error, and added's is taken.
func merged[E any](old, added []E, compare func(a, b E) int, agree func(a, b E) error) ([]E, error) {
	out := slices.Clone(old)
	for _, e := range added {
		i := slices.IndexFunc(out, func(o E) bool { return compare(o, e) == 0 })
		if i < 0 {
			out = append(out, e)
			continue
		}
		if err := agree(out[i], e); err != nil {
			return nil, err
		}
		out[i] = e
	}
	slices.SortFunc(out, compare)
	return out, nil
}
