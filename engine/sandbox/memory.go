package sandbox

// #include <stdlib.h>
// #include <string.h>
// #include "child.h"
import "C"

import "unsafe"

// memory is what the child reads, outside of Go's heap: C may not hold pointers into that one.
type memory struct{ blocks []unsafe.Pointer }

func (m *memory) free() {
	for _, p := range m.blocks {
		C.free(p)
	}
}

// alloc returns zeroed memory. Like Go's own, it doesn't return when there is none.
func (m *memory) alloc(size C.size_t) unsafe.Pointer {
	p := C.malloc(size + 1)
	C.memset(p, 0, size+1)
	m.blocks = append(m.blocks, p)
	return p
}

func (m *memory) bytes(b []byte) unsafe.Pointer {
	p := m.alloc(C.size_t(len(b)))
	copy(unsafe.Slice((*byte)(p), len(b)), b)
	return p
}

func (m *memory) text(s string) *C.char { return (*C.char)(m.bytes([]byte(s))) }

// texts returns an array that ends with NULL, as execve(2) wants it.
func (m *memory) texts(list []string) **C.char {
	p := m.alloc(C.size_t(len(list)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil))))
	array := unsafe.Slice((**C.char)(p), len(list))
	for i, s := range list {
		array[i] = m.text(s)
	}
	return (**C.char)(p)
}

func (m *memory) groups(ids []uint32) *C.uint32_t {
	p := m.alloc(C.size_t(len(ids)) * C.sizeof_uint32_t)
	copy(unsafe.Slice((*uint32)(p), len(ids)), ids)
	return (*C.uint32_t)(p)
}

func (m *memory) limits(list []Limit) *C.struct_limit {
	p := m.alloc(C.size_t(len(list)) * C.sizeof_struct_limit)
	array := unsafe.Slice((*C.struct_limit)(p), len(list))
	for i, l := range list {
		array[i] = C.struct_limit{resource: C.int(l.Resource), soft: C.uint64_t(l.Soft), hard: C.uint64_t(l.Hard)}
	}
	return (*C.struct_limit)(p)
}

func (m *memory) operations(list []operation) *C.struct_op {
	p := m.alloc(C.size_t(len(list)) * C.sizeof_struct_op)
	array := unsafe.Slice((*C.struct_op)(p), len(list))
	for i, o := range list {
		array[i] = C.struct_op{
			kind: C.int(o.kind), place: C.int(o.place), keep: C.int(o.keep), make: C.int(o.make),
			mode: C.uint(o.mode), attributes: C.uint64_t(o.attributes), propagation: C.uint64_t(o.propagation), source: m.text(o.source), target: m.text(o.target),
			options: m.text(o.options), content: (*C.char)(m.bytes(o.content)), length: C.size_t(len(o.content)),
		}
	}
	return (*C.struct_op)(p)
}
