package archive

import (
	"context"
	"io"
)

// Share is an object that was made of the files of several queues.
type Share struct {
	Merge
	Sections []DataFile         // by queue; their name is left to the caller
	objects  map[string]*footer // of those that were read, shared ones
}

// ShareFiles writes one object with the rows of files of several queues of one
// broker group, each queue's in order, the queues by id; each element of runs is
// consecutive files of one queue, which become one section. Files may be sections of objects
// that are shared already. All have the same typed columns, or none. Every
// page that it reads is compared with its checksum; row groups that are large
// enough are copied as they are, and a section's small ones put together.
func ShareFiles(ctx context.Context, out io.Writer, rr RangeReader, runs [][]DataFile, o MergeOptions) (*Share, error) {
	if o.Pace == nil {
		o.Pace = func() error { return nil }
	}
	s := &Share{Merge: Merge{want: map[int]run{}, pace: o.Pace}, objects: map[string]*footer{}}
	var opened [][]*File
	var all []*File
	for _, files := range runs {
		list, err := s.openRun(ctx, rr, files)
		if err != nil {
			return nil, err
		}
		opened, all = append(opened, list), append(all, list...)
	}
	layout, err := s.columns(all)
	if err != nil {
		return nil, err
	}
	w := NewSharedWriter(out, FileOptions{SpillDir: o.SpillDir, Typed: layout})
	w.w.typed = nil // the columns come from the files, not from bodies
	for i, files := range runs {
		if err := s.section(ctx, w, files, opened[i]); err != nil {
			w.Abort()
			return nil, err
		}
	}
	s.Sections, err = w.Close()
	for i := range s.Sections {
		s.Sections[i].Columns = s.File.Columns
	}
	return s, err
}

// openRun opens files of one queue, and checks each object once.
func (s *Share) openRun(ctx context.Context, rr RangeReader, files []DataFile) ([]*File, error) {
	var out []*File
	for _, f := range files {
		o := s.objects[f.Name]
		if o == nil {
			var err error
			if o, err = openFooter(ctx, rr, f); err == nil {
				err = o.whole(rr, f).Check(ctx, AllColumns)
			}
			if err == nil {
				err = s.pace()
			}
			if err != nil {
				return nil, err
			}
			if f.Shared() {
				s.objects[f.Name] = o
			}
		}
		file, err := o.file(rr, f, newCursors(defaultCursorBytes, nil))
		if err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	return out, nil
}

// section writes the files of one run.
func (s *Share) section(ctx context.Context, w *SharedWriter, files []DataFile, opened []*File) error {
	d, err := describeRun(files)
	if err != nil {
		return err
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
