# The first instructions of the image: from the hypervisor's 32-bit hand-over to Rust in long mode.
#
# The hypervisor finds `pvh_start` through the ELF note below (x86/HVM direct boot ABI, "PVH") and enters it
# in 32-bit protected mode with paging off and EBX = the physical address of `hvm_start_info`.

.section .note.Xen, "a", @note
.align 4
  .long 4                       # length of the name
  .long 4                       # length of the entry address
  .long 18                      # XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long pvh_start

.section .boot, "ax"
.code32
.global pvh_start
pvh_start:
  cld
  mov esp, offset boot_stack_top
  mov edi, ebx                  # start info, kept for Rust's first argument

  # Identity-map the first 4 GiB, so that every 32-bit device register is reachable. One level-4 entry,
  # four level-3 entries, 2048 pages of 2 MiB.
  mov eax, offset boot_level3
  or eax, 3                     # present, writable
  mov [boot_level4], eax
  mov eax, offset boot_level2
  or eax, 3
  xor ecx, ecx
.Llevel3:
  mov [boot_level3 + ecx * 8], eax
  add eax, 4096
  inc ecx
  cmp ecx, 4
  jne .Llevel3
  xor ecx, ecx
.Llevel2:
  mov eax, ecx
  shl eax, 21
  or eax, 0x83                  # present, writable, 2 MiB page
  mov [boot_level2 + ecx * 8], eax
  inc ecx
  cmp ecx, 2048
  jne .Llevel2

  # The first 2 MiB are mapped with 4 KiB pages, and page 0x8000 is left out: the kernel maps that one
  # itself when it starts further processors, and it must find it absent.
  xor ecx, ecx
.Llevel1:
  mov eax, ecx
  shl eax, 12
  or eax, 3
  mov [boot_level1 + ecx * 8], eax
  inc ecx
  cmp ecx, 512
  jne .Llevel1
  mov dword ptr [boot_level1 + 8 * 8], 0
  mov eax, offset boot_level1
  or eax, 3
  mov [boot_level2], eax

  # Long mode: PAE (and FXSAVE, SIMD exceptions), the tables, EFER.LME and NXE, then paging.
  mov eax, cr4
  or eax, 0x620
  mov cr4, eax
  mov eax, offset boot_level4
  mov cr3, eax
  mov ecx, 0xC0000080
  rdmsr
  or eax, 0x900
  wrmsr
  mov eax, cr0
  or eax, 0x80000022            # paging, native FPU errors, monitor coprocessor
  and eax, -5                   # no FPU emulation
  mov cr0, eax
  lgdt [boot_gdt_pointer]
  push 8
  mov eax, offset pvh_long_mode
  push eax
  retf

.code64
pvh_long_mode:
  mov ax, 16
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov fs, ax
  mov gs, ax
  mov rsp, offset boot_stack_top
  mov edi, edi                  # the upper half is undefined after 32-bit code
  call pvh_main
  ud2

.section .rodata
.align 8
boot_gdt:
  .quad 0
  .quad 0x00AF9A000000FFFF      # 64-bit code
  .quad 0x00CF92000000FFFF      # data
boot_gdt_pointer:
  .word 23
  .long boot_gdt

.section .bss
.align 4096
boot_level4: .skip 4096
boot_level3: .skip 4096
boot_level2: .skip 16384
boot_level1: .skip 4096
.skip 65536
boot_stack_top:
.skip 16
# The kernel adds its stack size to the address it is entered with: RSP must be the low end.
.align 4096
.global kernel_boot_stack
kernel_boot_stack: .skip 131072
