#include "textflag.h"

// The round constants: the first 32 bits of the fractional parts of the cube
// roots of the first 64 primes (FIPS 180-4, 4.2.2), two to a line.
DATA k<>+0x00(SB)/8, $0x71374491428a2f98
DATA k<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA k<>+0x10(SB)/8, $0x59f111f13956c25b
DATA k<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA k<>+0x20(SB)/8, $0x12835b01d807aa98
DATA k<>+0x28(SB)/8, $0x550c7dc3243185be
DATA k<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA k<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA k<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA k<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA k<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA k<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA k<>+0x60(SB)/8, $0xa831c66d983e5152
DATA k<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA k<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA k<>+0x78(SB)/8, $0x1429296706ca6351
DATA k<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA k<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA k<>+0x90(SB)/8, $0x766a0abb650a7354
DATA k<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA k<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA k<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA k<>+0xb0(SB)/8, $0xd6990624d192e819
DATA k<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA k<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA k<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA k<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA k<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA k<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA k<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA k<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA k<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL k<>(SB), RODATA|NOPTR, $256

// What makes four little-endian words of the message's big-endian ones.
DATA swap<>+0x00(SB)/8, $0x0405060700010203
DATA swap<>+0x08(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $16

// A lane has its state in two registers, as the instructions want it: abef holds
// f, e, b, a and cdgh holds h, g, d, c, from the lowest word up. Four more hold
// the last sixteen words of its message schedule. The words of
// the rounds with their constants are always in X0, which the instruction reads
// by itself: the lanes share it, and the processor gives each its own.

// LOAD takes the i-th sixteen bytes of a block.
#define LOAD(data, i, w) \
	MOVOU  (i*16)(data), w \
	PSHUFB X14, w

// ROUNDS does the i-th four rounds with their words.
#define ROUNDS(i, w, abef, cdgh) \
	MOVO        w, X0                \
	PADDL       k<>+(i*16)(SB), X0   \
	SHA256RNDS2 X0, abef, cdgh       \
	PSHUFL      $0x0e, X0, X0        \
	SHA256RNDS2 X0, cdgh, abef

// WORDS makes the next four words, in the place of those sixteen before: w0 to w3
// are the last sixteen, the oldest first.
#define WORDS(w0, w1, w2, w3, t) \
	SHA256MSG1 w1, w0     \
	MOVO       w3, t      \
	PALIGNR    $4, w2, t  \
	PADDL      t, w0      \
	SHA256MSG2 w3, w0

// ADD adds to the state what it was before the block, and keeps it.
#define ADD(state, abef, cdgh, t) \
	MOVOU (state), t     \
	PADDL t, abef        \
	MOVOU abef, (state)  \
	MOVOU 16(state), t   \
	PADDL t, cdgh        \
	MOVOU cdgh, 16(state)

// The two lanes: DI and R8 are a's state and data, SI and R9 b's.
#define A_LOAD(i, w)             LOAD(R8, i, w)
#define B_LOAD(i, w)             LOAD(R9, i, w)
#define A_ROUNDS(i, w)           ROUNDS(i, w, X1, X2)
#define B_ROUNDS(i, w)           ROUNDS(i, w, X7, X8)
#define A_WORDS(w0, w1, w2, w3)  WORDS(w0, w1, w2, w3, X13)
#define B_WORDS(w0, w1, w2, w3)  WORDS(w0, w1, w2, w3, X15)

// BOTH does four rounds of each lane whose words are there, and makes the words
// of the four rounds that are sixteen behind them.
#define BOTH(i, a0, a1, a2, a3, b0, b1, b2, b3) \
	A_ROUNDS(i, a3)         \
	B_ROUNDS(i, b3)         \
	A_WORDS(a0, a1, a2, a3) \
	B_WORDS(b0, b1, b2, b3)

// func blocks2(a, b *state, p, q *byte, n int)
TEXT ·blocks2(SB), NOSPLIT, $0-40
	MOVQ  a+0(FP), DI
	MOVQ  b+8(FP), SI
	MOVQ  p+16(FP), R8
	MOVQ  q+24(FP), R9
	MOVQ  n+32(FP), CX
	MOVOU swap<>(SB), X14
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	MOVOU (SI), X7
	MOVOU 16(SI), X8
	TESTQ CX, CX
	JLE   done

block:
	A_LOAD(0, X3)
	B_LOAD(0, X9)
	A_ROUNDS(0, X3)
	B_ROUNDS(0, X9)
	A_LOAD(1, X4)
	B_LOAD(1, X10)
	A_ROUNDS(1, X4)
	B_ROUNDS(1, X10)
	A_LOAD(2, X5)
	B_LOAD(2, X11)
	A_ROUNDS(2, X5)
	B_ROUNDS(2, X11)
	A_LOAD(3, X6)
	B_LOAD(3, X12)
	BOTH(3, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(4, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(5, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(6, X6, X3, X4, X5, X12, X9, X10, X11)
	BOTH(7, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(8, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(9, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(10, X6, X3, X4, X5, X12, X9, X10, X11)
	BOTH(11, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(12, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(13, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(14, X6, X3, X4, X5, X12, X9, X10, X11)
	A_ROUNDS(15, X6)
	B_ROUNDS(15, X12)
	ADD(DI, X1, X2, X13)
	ADD(SI, X7, X8, X15)
	ADDQ $64, R8
	ADDQ $64, R9
	DECQ CX
	JNZ  block

done:
	RET

#define ONE(i, w0, w1, w2, w3) \
	A_ROUNDS(i, w3)         \
	A_WORDS(w0, w1, w2, w3)

// func blocks1(a *state, p *byte, n int)
TEXT ·blocks1(SB), NOSPLIT, $0-24
	MOVQ  a+0(FP), DI
	MOVQ  p+8(FP), R8
	MOVQ  n+16(FP), CX
	MOVOU swap<>(SB), X14
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	TESTQ CX, CX
	JLE   done

block:
	A_LOAD(0, X3)
	A_ROUNDS(0, X3)
	A_LOAD(1, X4)
	A_ROUNDS(1, X4)
	A_LOAD(2, X5)
	A_ROUNDS(2, X5)
	A_LOAD(3, X6)
	ONE(3, X3, X4, X5, X6)
	ONE(4, X4, X5, X6, X3)
	ONE(5, X5, X6, X3, X4)
	ONE(6, X6, X3, X4, X5)
	ONE(7, X3, X4, X5, X6)
	ONE(8, X4, X5, X6, X3)
	ONE(9, X5, X6, X3, X4)
	ONE(10, X6, X3, X4, X5)
	ONE(11, X3, X4, X5, X6)
	ONE(12, X4, X5, X6, X3)
	ONE(13, X5, X6, X3, X4)
	ONE(14, X6, X3, X4, X5)
	A_ROUNDS(15, X6)
	ADD(DI, X1, X2, X13)
	ADDQ $64, R8
	DECQ CX
	JNZ  block

done:
	RET
