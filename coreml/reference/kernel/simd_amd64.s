#include "textflag.h"

// Each group of four sums is 4 x 16 float32 partial sums: Y0..Y7, two registers
// a sum. The fused multiply-adds have float16 factors, whose products are exact.

#define LOAD_SUMS(P) \
	VMOVUPS 0(P), Y0; \
	VMOVUPS 32(P), Y1; \
	VMOVUPS 64(P), Y2; \
	VMOVUPS 96(P), Y3; \
	VMOVUPS 128(P), Y4; \
	VMOVUPS 160(P), Y5; \
	VMOVUPS 192(P), Y6; \
	VMOVUPS 224(P), Y7

#define STORE_SUMS(P) \
	VMOVUPS Y0, 0(P); \
	VMOVUPS Y1, 32(P); \
	VMOVUPS Y2, 64(P); \
	VMOVUPS Y3, 96(P); \
	VMOVUPS Y4, 128(P); \
	VMOVUPS Y5, 160(P); \
	VMOVUPS Y6, 192(P); \
	VMOVUPS Y7, 224(P)

// ROUND_Y0 rounds Y0 into Y2, eight float16 values; Y5 holds the NaN.
#define ROUND_Y0 \
	VCMPPS $3, Y0, Y0, Y1; \
	VCVTPS2PH $0, Y0, X2; \
	VCVTPH2PS X2, Y2; \
	VBLENDVPS Y1, Y5, Y2, Y2

// BINARY and SCALAR are whole functions: an operation on two slices, or on a
// slice and a number, and the rounding. They stand before every TEXT, where vet
// does not take their arguments for another function's.
#define BINARY(OP) \
	MOVQ dst+0(FP), DI; \
	MOVQ a+8(FP), SI; \
	MOVQ b+16(FP), R8; \
	MOVQ n+24(FP), CX; \
	MOVL $0x7FC00000, AX; \
	VMOVD AX, X5; \
	VBROADCASTSS X5, Y5; \
	XORQ DX, DX; \
loop: \
	VMOVUPS (SI)(DX*4), Y0; \
	OP (R8)(DX*4), Y0, Y0; \
	ROUND_Y0; \
	VMOVUPS Y2, (DI)(DX*4); \
	ADDQ $8, DX; \
	CMPQ DX, CX; \
	JLT loop; \
	VZEROUPPER; \
	RET

#define SCALAR(OP) \
	MOVQ dst+0(FP), DI; \
	MOVQ a+8(FP), SI; \
	VBROADCASTSS b+16(FP), Y4; \
	MOVQ n+24(FP), CX; \
	MOVL $0x7FC00000, AX; \
	VMOVD AX, X5; \
	VBROADCASTSS X5, Y5; \
	XORQ DX, DX; \
loop: \
	VMOVUPS (SI)(DX*4), Y0; \
	OP Y4, Y0, Y0; \
	ROUND_Y0; \
	VMOVUPS Y2, (DI)(DX*4); \
	ADDQ $8, DX; \
	CMPQ DX, CX; \
	JLT loop; \
	VZEROUPPER; \
	RET

// func accumulateRowsAVX(sums *[group]lanes, w *float16.Float16, stride int, x *float32, n int)
TEXT ·accumulateRowsAVX(SB), NOSPLIT, $0-40
	MOVQ sums+0(FP), DI
	MOVQ w+8(FP), R8
	MOVQ stride+16(FP), AX
	MOVQ x+24(FP), SI
	MOVQ n+32(FP), CX
	LEAQ (R8)(AX*2), R9
	LEAQ (R9)(AX*2), R10
	LEAQ (R10)(AX*2), R11
	LOAD_SUMS(DI)
	XORQ DX, DX

rowsLoop:
	VMOVUPS (SI)(DX*4), Y8
	VMOVUPS 32(SI)(DX*4), Y9
	VCVTPH2PS (R8)(DX*2), Y10
	VCVTPH2PS 16(R8)(DX*2), Y11
	VCVTPH2PS (R9)(DX*2), Y12
	VCVTPH2PS 16(R9)(DX*2), Y13
	VFMADD231PS Y8, Y10, Y0
	VFMADD231PS Y9, Y11, Y1
	VFMADD231PS Y8, Y12, Y2
	VFMADD231PS Y9, Y13, Y3
	VCVTPH2PS (R10)(DX*2), Y10
	VCVTPH2PS 16(R10)(DX*2), Y11
	VCVTPH2PS (R11)(DX*2), Y12
	VCVTPH2PS 16(R11)(DX*2), Y13
	VFMADD231PS Y8, Y10, Y4
	VFMADD231PS Y9, Y11, Y5
	VFMADD231PS Y8, Y12, Y6
	VFMADD231PS Y9, Y13, Y7
	ADDQ $16, DX
	CMPQ DX, CX
	JLT rowsLoop
	STORE_SUMS(DI)
	VZEROUPPER
	RET

// func accumulateColumnsAVX(sums *[group]lanes, w *float16.Float16, x0, x1, x2, x3 *float32, n, ahead int)
TEXT ·accumulateColumnsAVX(SB), NOSPLIT, $0-64
	MOVQ sums+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x0+16(FP), R8
	MOVQ x1+24(FP), R9
	MOVQ x2+32(FP), R10
	MOVQ x3+40(FP), R11
	MOVQ n+48(FP), CX
	MOVQ ahead+56(FP), R12
	LEAQ (SI)(R12*2), R12
	LOAD_SUMS(DI)
	XORQ DX, DX

columnsLoop:
	PREFETCHT0 (R12)(DX*2)
	VCVTPH2PS (SI)(DX*2), Y8
	VCVTPH2PS 16(SI)(DX*2), Y9
	VFMADD231PS (R8)(DX*4), Y8, Y0
	VFMADD231PS 32(R8)(DX*4), Y9, Y1
	VFMADD231PS (R9)(DX*4), Y8, Y2
	VFMADD231PS 32(R9)(DX*4), Y9, Y3
	VFMADD231PS (R10)(DX*4), Y8, Y4
	VFMADD231PS 32(R10)(DX*4), Y9, Y5
	VFMADD231PS (R11)(DX*4), Y8, Y6
	VFMADD231PS 32(R11)(DX*4), Y9, Y7
	ADDQ $16, DX
	CMPQ DX, CX
	JLT columnsLoop
	STORE_SUMS(DI)
	VZEROUPPER
	RET

// func accumulateFloatsAVX(sums *[group]lanes, a, b0, b1, b2, b3 *float32, n int)
TEXT ·accumulateFloatsAVX(SB), NOSPLIT, $0-56
	MOVQ sums+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b0+16(FP), R8
	MOVQ b1+24(FP), R9
	MOVQ b2+32(FP), R10
	MOVQ b3+40(FP), R11
	MOVQ n+48(FP), CX
	LOAD_SUMS(DI)
	XORQ DX, DX

floatsLoop:
	VMOVUPS (SI)(DX*4), Y8
	VMOVUPS 32(SI)(DX*4), Y9
	VFMADD231PS (R8)(DX*4), Y8, Y0
	VFMADD231PS 32(R8)(DX*4), Y9, Y1
	VFMADD231PS (R9)(DX*4), Y8, Y2
	VFMADD231PS 32(R9)(DX*4), Y9, Y3
	VFMADD231PS (R10)(DX*4), Y8, Y4
	VFMADD231PS 32(R10)(DX*4), Y9, Y5
	VFMADD231PS (R11)(DX*4), Y8, Y6
	VFMADD231PS 32(R11)(DX*4), Y9, Y7
	ADDQ $16, DX
	CMPQ DX, CX
	JLT floatsLoop
	STORE_SUMS(DI)
	VZEROUPPER
	RET

// func totalsAVX(dst *[group]float32, sums *[group]lanes)
//
// s[i] += s[i+8] and s[i] += s[i+4] for each sum, then s[i] += s[i+2] and s[0] +=
// s[1] for all four side by side.
TEXT ·totalsAVX(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ sums+8(FP), SI
	LOAD_SUMS(SI)
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y5, Y4, Y4
	VADDPS Y7, Y6, Y6
	VEXTRACTF128 $1, Y0, X1
	VEXTRACTF128 $1, Y2, X3
	VEXTRACTF128 $1, Y4, X5
	VEXTRACTF128 $1, Y6, X7
	VADDPS X1, X0, X0
	VADDPS X3, X2, X2
	VADDPS X5, X4, X4
	VADDPS X7, X6, X6
	VUNPCKLPD X2, X0, X8       // a0 a1 b0 b1
	VUNPCKHPD X2, X0, X9       // a2 a3 b2 b3
	VUNPCKLPD X6, X4, X10
	VUNPCKHPD X6, X4, X11
	VADDPS X9, X8, X8          // a0+a2 a1+a3 b0+b2 b1+b3
	VADDPS X11, X10, X10
	VHADDPS X10, X8, X8
	VMOVUPS X8, (DI)
	VZEROUPPER
	RET

// func lanePairAVX(dst *[columnBlock]float32, a, b *float32, stride, pairs, extra int)
//
// Y0..Y3 are the first lane's 32 columns, Y4..Y7 the second's.
TEXT ·lanePairAVX(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), R8
	MOVQ stride+24(FP), AX
	MOVQ pairs+32(FP), CX
	MOVQ extra+40(FP), BX
	SHLQ $5, AX                // eight rows in bytes
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	TESTQ CX, CX
	JZ pairsDone

pairsLoop:
	VBROADCASTSS (SI), Y8
	VBROADCASTSS 32(SI), Y9
	VFMADD231PS (R8), Y8, Y0
	VFMADD231PS 32(R8), Y8, Y1
	VFMADD231PS 64(R8), Y8, Y2
	VFMADD231PS 96(R8), Y8, Y3
	ADDQ AX, R8
	VFMADD231PS (R8), Y9, Y4
	VFMADD231PS 32(R8), Y9, Y5
	VFMADD231PS 64(R8), Y9, Y6
	VFMADD231PS 96(R8), Y9, Y7
	ADDQ AX, R8
	ADDQ $64, SI
	DECQ CX
	JNZ pairsLoop

pairsDone:
	TESTQ BX, BX
	JZ extraDone
	VBROADCASTSS (SI), Y8
	VFMADD231PS (R8), Y8, Y0
	VFMADD231PS 32(R8), Y8, Y1
	VFMADD231PS 64(R8), Y8, Y2
	VFMADD231PS 96(R8), Y8, Y3

extraDone:
	VADDPS Y4, Y0, Y0
	VADDPS Y5, Y1, Y1
	VADDPS Y6, Y2, Y2
	VADDPS Y7, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VZEROUPPER
	RET

// func dequantizeAVX(dst *float32, q *int8, scale float32, n int)
TEXT ·dequantizeAVX(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ q+8(FP), SI
	VBROADCASTSS scale+16(FP), Y4
	MOVQ n+24(FP), CX
	MOVL $0x7FC00000, AX
	VMOVD AX, X5
	VBROADCASTSS X5, Y5

dequantizeLoop:
	VPMOVSXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y4, Y0, Y0
	ROUND_Y0
	VMOVUPS Y2, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ dequantizeLoop
	VZEROUPPER
	RET

// func allFiniteAVX(x *float32, n int) bool
//
// The magnitudes as integers order like the numbers; the largest decides.
TEXT ·allFiniteAVX(SB), NOSPLIT, $0-17
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	MOVL $0x7FFFFFFF, AX
	VMOVD AX, X5
	VPBROADCASTD X5, Y5
	VPXOR Y0, Y0, Y0

finiteLoop:
	VPAND (SI), Y5, Y1
	VPMAXSD Y1, Y0, Y0
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ finiteLoop
	MOVL $0x7F7FFFFF, AX
	VMOVD AX, X5
	VPBROADCASTD X5, Y5
	VPCMPGTD Y5, Y0, Y1
	VPTEST Y1, Y1
	SETEQ ret+16(FP)
	VZEROUPPER
	RET

// func addAVX(dst, a, b *float32, n int)
TEXT ·addAVX(SB), NOSPLIT, $0-32
	BINARY(VADDPS)

// func subAVX(dst, a, b *float32, n int)
TEXT ·subAVX(SB), NOSPLIT, $0-32
	BINARY(VSUBPS)

// func mulAVX(dst, a, b *float32, n int)
TEXT ·mulAVX(SB), NOSPLIT, $0-32
	BINARY(VMULPS)

// func addScalarAVX(dst, a *float32, b float32, n int)
TEXT ·addScalarAVX(SB), NOSPLIT, $0-32
	SCALAR(VADDPS)

// func mulScalarAVX(dst, a *float32, b float32, n int)
TEXT ·mulScalarAVX(SB), NOSPLIT, $0-32
	SCALAR(VMULPS)
