package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Decode reads a marshalled definition. An operation that this builder cannot
// do is an error that names the Dockerfile line.
func Decode(def *pb.Definition) (*Graph, error) {
	d := &decoder{def: def, ops: map[digest.Digest]*pb.Op{}, steps: map[digest.Digest]*Step{}}
	var last digest.Digest
	for _, data := range def.GetDef() {
		op := &pb.Op{}
		if err := op.Unmarshal(data); err != nil {
			return nil, fmt.Errorf("definition: %w", err)
		}
		last = digest.FromBytes(data)
		d.ops[last] = op
	}
	if last == "" {
		return &d.graph, nil
	}
	// The last operation has no kind of its own: its input is the result.
	root := d.ops[last]
	if root.GetOp() != nil || len(root.GetInputs()) != 1 {
		return nil, fmt.Errorf("definition: its last operation must name one result")
	}
	in, err := d.input(root.Inputs[0])
	d.graph.Result = in
	return &d.graph, err
}

type decoder struct {
	def   *pb.Definition
	ops   map[digest.Digest]*pb.Op
	steps map[digest.Digest]*Step
	graph Graph
}

func (d *decoder) input(in *pb.Input) (Input, error) {
	step, err := d.step(digest.Digest(in.GetDigest()))
	if err != nil {
		return Input{}, err
	}
	if in.GetIndex() < 0 {
		return Input{}, fmt.Errorf("definition: output %d of %s", in.GetIndex(), step.ID)
	}
	return Input{Step: step, Output: int(in.GetIndex())}, nil
}

// step decodes an operation after its inputs, so that Steps is in order.
func (d *decoder) step(id digest.Digest) (*Step, error) {
	if s, ok := d.steps[id]; ok {
		if s == nil {
			return nil, fmt.Errorf("definition: operation %s depends on itself", id)
		}
		return s, nil
	}
	op, ok := d.ops[id]
	if !ok {
		return nil, fmt.Errorf("definition: operation %s is missing", id)
	}
	d.steps[id] = nil
	s := d.describe(id)
	for _, in := range op.GetInputs() {
		input, err := d.input(in)
		if err != nil {
			return nil, placed(s.Source, err)
		}
		s.Inputs = append(s.Inputs, input)
	}
	if p := op.GetPlatform(); p != nil {
		s.Platform = &ocispec.Platform{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant, OSVersion: p.OSVersion}
	}
	var err error
	if s.Op, err = decodeOp(op, len(s.Inputs)); err != nil {
		return nil, &LineError{Span: s.Source, Err: err}
	}
	if s.Name == "" {
		s.Name = name(s.Op)
	}
	if x, ok := s.Op.(*Exec); ok {
		x.Resources = resources(d.def.GetMetadata()[string(id)].GetLinuxResources())
	}
	d.steps[id] = s
	d.graph.Steps = append(d.graph.Steps, s)
	return s, nil
}

// placed gives an error about an input without a place that of its user.
func placed(at Span, err error) error {
	var le *LineError
	if errors.As(err, &le) && len(le.Span.Lines) == 0 {
		le.Span = at
	}
	return err
}

func (d *decoder) describe(id digest.Digest) *Step {
	s := &Step{ID: id, Source: d.span(id)}
	if m := d.def.GetMetadata()[string(id)]; m != nil {
		s.Name = Redact(m.GetDescription()["llb.customname"])
		s.NoCache = m.GetIgnoreCache()
	}
	if name, ok := strings.CutPrefix(s.Name, "[internal] "); ok {
		s.Internal, s.Name = true, name
	}
	return s
}

func (d *decoder) span(id digest.Digest) Span {
	src := d.def.GetSource()
	locs := src.GetLocations()[string(id)].GetLocations()
	if len(locs) == 0 {
		return Span{}
	}
	i := int(locs[0].GetSourceIndex())
	if i < 0 || i >= len(src.GetInfos()) {
		return Span{}
	}
	span := Span{File: src.Infos[i].GetFilename(), Data: src.Infos[i].GetData()}
	for _, l := range locs {
		for _, r := range l.GetRanges() {
			span.Lines = append(span.Lines, Range{int(r.GetStart().GetLine()), int(r.GetEnd().GetLine())})
		}
	}
	slices.SortFunc(span.Lines, func(a, b Range) int { return a.First - b.First })
	return span
}

func decodeOp(op *pb.Op, inputs int) (Op, error) {
	switch o := op.GetOp().(type) {
	case *pb.Op_Source:
		return DecodeSource(o.Source)
	case *pb.Op_Exec:
		return decodeExec(o.Exec, inputs)
	case *pb.Op_File:
		return decodeFile(o.File, inputs)
	case *pb.Op_Merge:
		return &Merge{}, nil
	case *pb.Op_Diff:
		return &Diff{Lower: int(o.Diff.GetLower().GetInput()), Upper: int(o.Diff.GetUpper().GetInput())}, nil
	default:
		return nil, fmt.Errorf("an operation of kind %T is not known", o)
	}
}

// DecodeSource reads a source operation alone.
func DecodeSource(src *pb.SourceOp) (Op, error) {
	scheme, rest, _ := strings.Cut(src.GetIdentifier(), "://")
	attrs := maps.Clone(src.GetAttrs())
	switch scheme {
	case "docker-image", "oci-layout": // an image of a layout is in the store, by its digest
		limit, err := takeInt(attrs, pb.AttrImageLayerLimit)
		if err != nil {
			return nil, err
		}
		drop(attrs, pb.AttrOCILayoutSessionID, pb.AttrOCILayoutStoreID)
		drop(attrs, pb.AttrImageResolveMode, pb.AttrImageRecordType)
		return &Image{Ref: rest, LayerLimit: limit}, unknown(attrs, src)
	case "local":
		return decodeLocal(rest, attrs, src)
	case "http", "https":
		return decodeHTTP(src, attrs)
	case "git":
		return decodeGit(src, rest, attrs)
	default:
		return nil, fmt.Errorf("a source %s:// is not supported: %s", scheme, Redact(src.GetIdentifier()))
	}
}

func decodeLocal(name string, attrs map[string]string, src *pb.SourceOp) (Op, error) {
	l := &Local{Name: name}
	for key, to := range map[string]*[]string{
		pb.AttrIncludePatterns: &l.Include, pb.AttrExcludePatterns: &l.Exclude, pb.AttrFollowPaths: &l.FollowPaths,
	} {
		if v := attrs[key]; v != "" {
			if err := json.Unmarshal([]byte(v), to); err != nil {
				return nil, fmt.Errorf("source %s: %s: %w", src.GetIdentifier(), key, err)
			}
		}
		delete(attrs, key)
	}
	// Who asks, and how files were once to be compared, change no content.
	drop(attrs, pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrSharedKeyHint, pb.AttrLocalDiffer)
	return l, unknown(attrs, src)
}

func takeInt(attrs map[string]string, key string) (int, error) {
	v, ok := attrs[key]
	delete(attrs, key)
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return n, nil
}

func drop(attrs map[string]string, keys ...string) {
	for _, k := range keys {
		delete(attrs, k)
	}
}

// unknown refuses attributes that would otherwise be ignored.
func unknown(attrs map[string]string, src *pb.SourceOp) error {
	if len(attrs) == 0 {
		return nil
	}
	return fmt.Errorf("source %s: attributes %s are not known", Redact(src.GetIdentifier()), strings.Join(slices.Sorted(maps.Keys(attrs)), ", "))
}
