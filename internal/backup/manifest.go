package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// FormatVersion is what this program writes; it reads no higher one.
const FormatVersion = 1

// Errors of the package, wrapped with the object's name.
var (
	// ErrDamaged says that an object is not what was written: the snapshot can't
	// be used, an older one may be.
	ErrDamaged = errors.New("damaged state snapshot")
	// ErrFormat says that a newer version wrote it.
	ErrFormat = errors.New("state snapshot format is not supported")
)

// Unreadable tells errors that are about one snapshot's objects from those of
// the bucket: an older snapshot may be whole.
func Unreadable(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) || errors.Is(err, objstore.ErrNotFound)
}

// Limits of what is read.
const (
	maxManifest = 64 << 20
	maxPart     = 64 << 20 // stored and unpacked; a part is at most cutRaw and one item
)

// Head is what a manifest says of the whole.
type Head struct {
	Version    int       `json:"version"`
	Broker     string    `json:"broker"`
	Generation int64     `json:"generation"` // of the data directory, see archive.Claim
	Sequence   int64     `json:"sequence"`
	Archive    string    `json:"archive"` // identity
	TakenAt    time.Time `json:"taken_at"`
	LogEnd     int64     `json:"log_end"`      // no position of the log was given out beyond it when the snapshot began
	LogTime    int64     `json:"log_time"`     // newest store time, ms
	Program    string    `json:"program"`      // that wrote it
	Cluster    string    `json:"cluster"`      // name that clients saw
	Advertised string    `json:"advertised"`   // address that clients were told
	Queues     int64     `json:"queues"`       // of the log
	Unarchived int64     `json:"not_archived"` // messages of the log that the archive did not have yet
}

// Manifest is one snapshot.
type Manifest struct {
	Head
	Sections []Section `json:"sections"`
}

// Section is one named set of keys and values, in the order of its parts.
type Section struct {
	Name    string    `json:"name"`
	TakenAt time.Time `json:"taken_at"`
	Items   int64     `json:"items"`
	Parts   []Part    `json:"parts"`
}

// Part is one object of a section.
type Part struct {
	SHA256 string `json:"sha256"` // of the object's bytes, which is its name
	Bytes  int64  `json:"bytes"`
	Items  int64  `json:"items"`
}

// Section finds a section by its name.
func (m *Manifest) Section(name string) (Section, bool) {
	i := slices.IndexFunc(m.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		return Section{}, false
	}
	return m.Sections[i], true
}

// Ref names a snapshot.
type Ref struct{ Generation, Sequence int64 }

func (r Ref) compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Generation, o.Generation), cmp.Compare(r.Sequence, o.Sequence))
}

func folder(broker string) string { return "_varve/state/" + archive.EncodeName(broker) + "/" }

func manifestName(broker string, r Ref) string {
	return fmt.Sprintf("%s%06d-%020d.json", folder(broker), r.Generation, r.Sequence)
}

func partsFolder(broker string) string { return folder(broker) + "parts/" }

func partName(broker, digest string) string { return partsFolder(broker) + digest }

// parseRef is the reverse of manifestName, below the folder.
func parseRef(name string) (Ref, bool) {
	base, ok := strings.CutSuffix(name, ".json")
	gen, seq, cut := strings.Cut(base, "-")
	if !ok || !cut || len(seq) != 20 {
		return Ref{}, false
	}
	g, err1 := strconv.ParseInt(gen, 10, 64)
	n, err2 := strconv.ParseInt(seq, 10, 64)
	return Ref{g, n}, err1 == nil && err2 == nil && g >= 0 && n >= 0
}

// encode makes the manifest's object: one line of JSON, and a line with its
// SHA-256.
func (m *Manifest) encode() ([]byte, error) {
	line, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(line)
	return fmt.Appendf(append(line, '\n'), "sha256:%s\n", hex.EncodeToString(sum[:])), nil
}

func decodeManifest(data []byte) (*Manifest, error) {
	line, tail, ok := bytes.Cut(data, []byte{'\n'})
	sum := sha256.Sum256(line)
	if want := "sha256:" + hex.EncodeToString(sum[:]) + "\n"; !ok || string(tail) != want {
		return nil, fmt.Errorf("%w: its checksum is another", ErrDamaged)
	}
	m := &Manifest{}
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if m.Version > FormatVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrFormat, m.Version, FormatVersion)
	}
	return m, nil
}

// List gives a broker group's snapshots, the newest first.
func List(ctx context.Context, b objstore.Bucket, broker string) ([]Ref, error) {
	var out []Ref
	at := folder(broker)
	for o, err := range b.List(ctx, at) {
		if err != nil {
			return nil, fmt.Errorf("list the state snapshots of %s: %w", broker, err)
		}
		if r, ok := parseRef(strings.TrimPrefix(o.Name, at)); ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Ref) int { return b.compare(a) })
	return out, nil
}

// Load reads a snapshot's manifest.
func Load(ctx context.Context, b objstore.Bucket, broker string, r Ref) (*Manifest, error) {
	name := manifestName(broker, r)
	data, err := get(ctx, b, name, maxManifest)
	if err == nil {
		var m *Manifest
		if m, err = decodeManifest(data); err == nil && (m.Broker != broker || m.Generation != r.Generation || m.Sequence != r.Sequence) {
			err = fmt.Errorf("%w: it is of %s, %d-%d", ErrDamaged, m.Broker, m.Generation, m.Sequence)
		}
		if err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("state snapshot %s: %w", name, err)
}

// get reads an object of at most limit bytes.
func get(ctx context.Context, b objstore.Bucket, name string, limit int64) ([]byte, error) {
	r, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, limit)
	}
	return data, nil
}
