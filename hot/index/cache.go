package index

import "sync"

// blockCache keeps full blocks, which never change, for readers that come back
// to a block many times. It forgets in the order of arrival.
type blockCache struct {
	mu     sync.RWMutex
	blocks map[blockName]Block
	ring   [cachedBlocks]blockName
	next   int
}

type blockName struct {
	uid uint64
	n   int64
}

// get gives a block, nil if it isn't there; along says that the one before it
// is: then somebody reads his way along.
func (c *blockCache) get(uid uint64, n int64) (b Block, along bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if b = c.blocks[blockName{uid, n}]; b == nil {
		along = c.blocks[blockName{uid, n - 1}] != nil
	}
	return b, along
}

func (c *blockCache) put(uid uint64, n int64, b Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks == nil {
		c.blocks = make(map[blockName]Block, cachedBlocks)
	}
	name := blockName{uid, n}
	if _, ok := c.blocks[name]; ok {
		return
	}
	delete(c.blocks, c.ring[c.next])
	c.blocks[name] = b
	c.ring[c.next] = name
	c.next = (c.next + 1) % cachedBlocks
}
