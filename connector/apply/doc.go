// Package apply gives archived files the typed columns of a schema that was
// declared later: each is written once more beside itself, read back and compared
// record by record, and put in the old one's place (archive.Table.Replace).
//
// It keeps no state. A file that has the columns is left alone, so a run that
// was cut off is resumed by another one; what compaction, retention or
// an erasure was faster with is looked at again. Objects that several queues share
// are written anew as a whole, and erased rows stay erased. Only what can't be
// read is left, and named. Readers see the old file or the new one, with the same rows.
package apply
