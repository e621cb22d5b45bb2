// Package proof is the arithmetic of an archive that can be proven: what of a
// message is hashed, how the messages of a queue become one head, and how a
// head is signed. It does no I/O. docs/format/proof.md has every byte.
//
//	leaf    of one message: its record as the archive serves it, the body
//	        replaced by the body's hash
//	block   a Merkle tree over 4,096 consecutive offsets of a queue; a leaf's
//	        place is its offset's place in the block, and an absent one is a
//	        constant. So what any run of messages gives to a block is a small set
//	        of aligned subtrees (Tree), and runs can be joined however a queue is
//	        cut into files.
//	chain   the blocks of a queue, each hashed with the chain before it
//	head    of a queue: the chain and the block that is still open (State.Head)
//	signed  the heads of all queues of a topic and broker group: the root of a
//	        tree over them, signed with Ed25519 (Statement)
//
// Invariants:
//   - A queue's head depends on its messages, its offsets and where the proof
//     begins, on nothing else: not on files, commits or compaction.
//   - Each kind of hash begins with a byte of its own, so none can stand for
//     another.
//   - Trees and states are never changed once they were given out.
package proof
