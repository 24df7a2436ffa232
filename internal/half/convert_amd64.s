#include "textflag.h"

// func encodeAVX(dst *float16.Float16, src *float32, n int)
//
// VCVTPS2PH keeps a NaN's sign and payload; the blend replaces it by 0x7E00.
TEXT ·encodeAVX(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVL $0x7E00, AX
	VMOVD AX, X5
	VPBROADCASTW X5, X5

encodeLoop:
	VMOVUPS (SI), Y0
	VCMPPS $3, Y0, Y0, Y1      // unordered with itself: NaN
	VEXTRACTF128 $1, Y1, X2
	VPACKSSDW X2, X1, X1       // the mask in 16-bit lanes
	VCVTPS2PH $0, Y0, X3
	VPBLENDVB X1, X5, X3, X3
	VMOVDQU X3, (DI)
	ADDQ $32, SI
	ADDQ $16, DI
	SUBQ $8, CX
	JNZ encodeLoop
	VZEROUPPER
	RET

// func decodeAVX(dst *float32, src *float16.Float16, n int)
TEXT ·decodeAVX(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

decodeLoop:
	VCVTPH2PS (SI), Y0
	VMOVUPS Y0, (DI)
	ADDQ $16, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ decodeLoop
	VZEROUPPER
	RET

// func roundAVX(x *float32, n int)
TEXT ·roundAVX(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	MOVL $0x7FC00000, AX
	VMOVD AX, X5
	VBROADCASTSS X5, Y5

roundLoop:
	VMOVUPS (DI), Y0
	VCMPPS $3, Y0, Y0, Y1
	VCVTPS2PH $0, Y0, X2
	VCVTPH2PS X2, Y2
	VBLENDVPS Y1, Y5, Y2, Y2
	VMOVUPS Y2, (DI)
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ roundLoop
	VZEROUPPER
	RET
