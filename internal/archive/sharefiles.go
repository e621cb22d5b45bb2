package archive

import (
	"context"
	"io"
)

// Share is an object that was made of the files of several queues.
type Share struct {
	Merge
	Sections []DataFile // by queue; their name is left to the caller
}

// ShareFiles writes one object with the rows of files of several queues of one
// broker group, each queue's consecutive and in order, the queues by id. Every
// page that it reads is compared with its checksum; row groups that are large
// enough are copied as they are, and a section's small ones put together. Files
// with typed columns, and those that share an object already, are refused.
func ShareFiles(ctx context.Context, out io.Writer, rr RangeReader, queues [][]DataFile, o MergeOptions) (*Share, error) {
	if o.Pace == nil {
		o.Pace = func() error { return nil }
	}
	s := &Share{Merge: Merge{want: map[int]run{}, pace: o.Pace}}
	w := NewSharedWriter(out, FileOptions{SpillDir: o.SpillDir})
	for _, files := range queues {
		if err := s.section(ctx, w, rr, files); err != nil {
			w.Abort()
			return nil, err
		}
	}
	var err error
	s.Sections, err = w.Close()
	return s, err
}

// section writes the files of one queue.
func (s *Share) section(ctx context.Context, w *SharedWriter, rr RangeReader, files []DataFile) error {
	d, err := describeRun(files)
	if err != nil {
		return err
	}
	s.files = files
	opened, err := s.open(ctx, rr)
	if err != nil {
		return err
	}
	layout, err := s.columns(opened)
	if err != nil {
		return err
	}
	if layout != nil {
		return unmergeable(files[0].Name, "objects that several queues share have no typed columns")
	}
	pieces, joined, err := piecesOf(opened)
	if err != nil {
		return err
	}
	if err := w.Section(d.Queue); err != nil {
		return err
	}
	if err := s.writeGroups(ctx, w.w, pieces); err != nil {
		return err
	}
	w.put(d, joined)
	return nil
}

// Name names all sections.
func (s *Share) Name(name string) {
	for i := range s.Sections {
		s.Sections[i].Name = name
	}
}

// Check reads the object where it was written to, before it is used: as
// Merge.Check does, and that each section can be found in it.
func (s *Share) Check(ctx context.Context, rr RangeReader) error {
	footer, err := openFooter(ctx, rr, s.Sections[0])
	if err != nil {
		return err
	}
	for _, f := range s.Sections {
		if _, err := footer.file(rr, f, nil); err != nil {
			return err
		}
	}
	return s.check(ctx, footer.whole(rr, s.Sections[0]))
}
