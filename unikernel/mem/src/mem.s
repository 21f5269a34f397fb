# memcpy, memmove, memset (System V: rdi = to, rsi = from or value, rdx = count; rax = to).
#
# Copies of 8 bytes or more load the piece at the far end first, go through the rest in steps of 32 and 8
# bytes, and store that piece last: so the odd bytes at the end need no loop, and ranges that overlap in the
# direction of the steps come out right. Shorter copies load everything before they store anything.

.section .text.coterie_mem, "ax", @progbits
.globl coterie_memcpy
.globl coterie_memmove
.globl coterie_memset

.p2align 4
coterie_memmove:
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb .Lbackward          # "to" lies behind "from", within the range: begin at the end

.p2align 4
coterie_memcpy:
    mov rax, rdi
    cmp rdx, 8
    jb .Lshort
    mov r8, [rsi + rdx - 8]
    lea r9, [rdi + rdx - 8]
    sub rdx, 8
    jbe .Llast
    sub rdx, 32
    jb .Lforward_rest
.Lforward_32:
    mov rcx, [rsi]
    mov r10, [rsi + 8]
    mov r11, [rsi + 16]
    mov [rdi], rcx
    mov rcx, [rsi + 24]
    mov [rdi + 8], r10
    mov [rdi + 16], r11
    mov [rdi + 24], rcx
    add rsi, 32
    add rdi, 32
    sub rdx, 32
    jae .Lforward_32
.Lforward_rest:
    add rdx, 32
    jz .Llast
.Lforward_8:
    mov rcx, [rsi]
    add rsi, 8
    mov [rdi], rcx
    add rdi, 8
    sub rdx, 8
    ja .Lforward_8
.Llast:
    mov [r9], r8
    ret

.Lbackward:
    mov rax, rdi
    cmp rdx, 8
    jb .Lshort
    mov r8, [rsi]
    sub rdx, 8
    jbe .Lfirst
.Lbackward_8:
    mov rcx, [rsi + rdx]
    mov [rdi + rdx], rcx
    sub rdx, 8
    ja .Lbackward_8
.Lfirst:
    mov [rdi], r8
    ret

.Lshort:
    cmp rdx, 4
    jae .Lshort_4
    test rdx, rdx
    jz .Ldone
    # The first, the middle and the last: of one to three bytes that is all of them.
    mov r9, rdx
    shr r9, 1
    movzx ecx, byte ptr [rsi]
    movzx r10d, byte ptr [rsi + r9]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov [rdi], cl
    mov [rdi + r9], r10b
    mov [rdi + rdx - 1], r8b
    ret
.Lshort_4:
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
.Ldone:
    ret

.p2align 4
coterie_memset:
    mov rax, rdi
    movzx esi, sil
    movabs r8, 0x0101010101010101
    imul r8, rsi
    cmp rdx, 8
    jb .Lset_short
    mov [rdi + rdx - 8], r8
    sub rdx, 8
    jbe .Ldone
    sub rdx, 32
    jb .Lset_rest
.Lset_32:
    mov [rdi], r8
    mov [rdi + 8], r8
    mov [rdi + 16], r8
    mov [rdi + 24], r8
    add rdi, 32
    sub rdx, 32
    jae .Lset_32
.Lset_rest:
    add rdx, 32
    jz .Ldone
.Lset_8:
    mov [rdi], r8
    add rdi, 8
    sub rdx, 8
    ja .Lset_8
    ret
.Lset_short:
    cmp rdx, 4
    jae .Lset_short_4
    test rdx, rdx
    jz .Ldone
    mov r9, rdx
    shr r9, 1
    mov [rdi], r8b
    mov [rdi + r9], r8b
    mov [rdi + rdx - 1], r8b
    ret
.Lset_short_4:
    mov [rdi], r8d
    mov [rdi + rdx - 4], r8d
    ret
